//! Counts: unsigned in the domain, signed on the wire, where 0 means "none" and languages without unsigned numbers live.

use super::{path::Path, violations::Violations};

/// A count as the wire has it. Counts never come near the limit; if one did, it would stay there.
pub(super) fn write(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A small count as the wire has it.
pub(super) fn write_small(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// A count that may not be negative.
pub(super) fn read(at: &Path<'_>, number: i64, violations: &mut Violations) -> Option<u64> {
    let count = u64::try_from(number).ok();
    if count.is_none() {
        violations.add(at, format_args!("must be at least 0, is {number}"));
    }
    count
}

/// A small count that may not be less than `least`.
pub(super) fn read_small(at: &Path<'_>, number: i32, least: u32, violations: &mut Violations) -> Option<u32> {
    let count = u32::try_from(number).ok().filter(|count| *count >= least);
    if count.is_none() {
        violations.add(at, format_args!("must be at least {least}, is {number}"));
    }
    count
}
