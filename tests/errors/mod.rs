//! The error table over the wire: one row for each reason, unary and as a stream.

mod own;
pub(crate) mod provider;
mod tools;

use std::collections::BTreeSet;

use causerie::proto::ErrorReason;

pub(crate) use own::ROWS as OWN;

/// What every request of these tests says: it must be in no status.
pub(crate) const PROMPT: &str = "prompt-5f3a-for-the-model-only";

/// Reasons whose making takes a file of its own, or a fault of the service.
const ELSEWHERE: [(ErrorReason, &str); 10] = [
    (ErrorReason::Unspecified, "never sent"),
    (ErrorReason::StoreFailed, "disk_full: takes a disk that is full"),
    (ErrorReason::TurnLost, "crash: takes a process that is killed"),
    (ErrorReason::VersionExists, "transfer: takes an export of another store"),
    (ErrorReason::Internal, "transport::panics: takes a handler that panics"),
    (ErrorReason::ToolFailed, "tools::rounds: only ever the error of a turn that is INCOMPLETE"),
    (ErrorReason::ResponseFormatMismatch, "tools::format: only ever the error of a turn that is INCOMPLETE"),
    (ErrorReason::RevisionGone, "watch::retention: takes changes that are kept no more"),
    (ErrorReason::BatchNotFound, "batch: its service has calls of its own"),
    (ErrorReason::BatchClosed, "batch: its service has calls of its own"),
];

#[test]
fn every_reason_has_a_row() {
    let provider = provider::rows().into_iter().map(|row| row.reason);
    let own = OWN.iter().map(|(reason, _)| *reason);
    let elsewhere = ELSEWHERE.iter().map(|(reason, _)| *reason);
    let covered: BTreeSet<i32> = provider.chain(own).chain(elsewhere).map(i32::from).collect();
    let missing: Vec<ErrorReason> =
        (0..256).filter_map(|n| ErrorReason::try_from(n).ok()).filter(|r| !covered.contains(&i32::from(*r))).collect();
    assert_eq!(missing, []);
}
