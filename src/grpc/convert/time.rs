//! Times: `google.protobuf.Timestamp` counts nanoseconds, the domain microseconds.

use prost_types::Timestamp;

use super::{path::Path, violations::Violations};
use crate::domain::Time;

/// The years 1 to 9999, which is what a Timestamp may hold.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// A moment as the wire has it.
pub fn write(time: Time) -> Timestamp {
    let micros = time.unix_us.rem_euclid(1_000_000);
    let nanos = i32::try_from(micros * 1000).expect("less than a second is less than 2^31 nanoseconds");
    Timestamp { seconds: time.unix_us.div_euclid(1_000_000), nanos }
}

/// A moment, cut to the microsecond.
pub(super) fn read(at: &Path<'_>, timestamp: Timestamp, violations: &mut Violations) -> Option<Time> {
    let Timestamp { seconds, nanos } = timestamp;
    if !SECONDS.contains(&seconds) {
        violations.add(&at.field("seconds"), format_args!("must lie in the years 1 to 9999, is {seconds}"));
        return None;
    }
    if !(0..1_000_000_000).contains(&nanos) {
        violations.add(&at.field("nanos"), format_args!("must be 0 to 999999999, is {nanos}"));
        return None;
    }
    Some(Time { unix_us: seconds * 1_000_000 + i64::from(nanos / 1000) })
}

/// A moment, if one is given. The outer `None` is a violation.
pub(super) fn read_optional(
    at: &Path<'_>,
    timestamp: Option<Timestamp>,
    violations: &mut Violations,
) -> Option<Option<Time>> {
    match timestamp {
        Some(timestamp) => read(at, timestamp, violations).map(Some),
        None => Some(None),
    }
}

/// A moment that must be given.
pub(super) fn read_required(at: &Path<'_>, timestamp: Option<Timestamp>, violations: &mut Violations) -> Option<Time> {
    let Some(timestamp) = timestamp else {
        violations.add(at, format_args!("is required"));
        return None;
    };
    read(at, timestamp, violations)
}

/// The first microsecond that is not before the moment. What was made at or after the moment, and what was made before it,
/// is then the same whether one compares nanoseconds or microseconds.
pub(super) fn read_bound(at: &Path<'_>, timestamp: Timestamp, violations: &mut Violations) -> Option<Time> {
    let cut = timestamp.nanos % 1000 != 0;
    read(at, timestamp, violations).map(|time| Time { unix_us: time.unix_us + i64::from(cut) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost_types::Timestamp;

    use super::{SECONDS, read, read_bound, write};
    use crate::{
        domain::Time,
        grpc::convert::{
            path::Path,
            violations::{self, Rules},
        },
    };

    proptest! {
        #[test]
        fn a_moment_comes_back(seconds in SECONDS, micros in 0i64..1_000_000) {
            let time = Time { unix_us: seconds * 1_000_000 + micros };
            let back = violations::read(Rules::All, |v| read(&Path::root("t"), write(time), v));
            prop_assert_eq!(back.expect("it is a moment"), time);
        }

        #[test]
        fn no_timestamp_panics(seconds: i64, nanos: i32) {
            let _ = violations::read(Rules::All, |v| read(&Path::root("t"), Timestamp { seconds, nanos }, v));
        }
    }

    #[test]
    fn a_bound_between_two_microseconds_is_the_later_one() {
        let bound =
            |nanos| violations::read(Rules::All, |v| read_bound(&Path::root("t"), Timestamp { seconds: 1, nanos }, v));
        assert_eq!(bound(1_000).expect("valid").unix_us, 1_000_001);
        assert_eq!(bound(1_001).expect("valid").unix_us, 1_000_002);
    }
}
