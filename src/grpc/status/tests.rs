//! The error table against the contract, and statuses against what clients can receive.

use http::HeaderMap;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::{RETRY_PUSHBACK, Retry, Spent, name, status, table};
use crate::{
    domain::{Failure, Reason, Violation},
    proto::ErrorReason,
};

fn code_name(code: Code) -> String {
    screaming(&format!("{code:?}"))
}

fn screaming(camel: &str) -> String {
    let parts = camel.chars().enumerate().map(|(i, c)| {
        let separator = if i > 0 && c.is_uppercase() { "_" } else { "" };
        format!("{separator}{}", c.to_ascii_uppercase())
    });
    parts.collect()
}

fn pushback(status: &Status) -> Option<&str> {
    status.metadata().get(RETRY_PUSHBACK).map(|value| value.to_str().expect("a number"))
}

#[test]
fn reasons_of_contract_and_domain_are_the_same() {
    for (reason, ..) in table() {
        assert_eq!(name(reason), screaming(&format!("{reason:?}")));
        assert_eq!(ErrorReason::from_str_name(name(reason)).map(i32::from), Some(i32::from(reason as u8)));
    }
    let last = i32::try_from(Reason::ALL.len()).expect("a few");
    assert!(ErrorReason::try_from(last + 1).is_err(), "error.proto has a reason that the domain does not know");
}

/// error.proto is the public reference: a comment there begins with the code of its reason.
#[test]
fn codes_are_those_of_the_contract() {
    let (mut comment, mut rows) = ("", 0);
    for line in include_str!("../../../proto/causerie/v1/error.proto").lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("// ") {
            // Its first line: some go on.
            comment = if comment.is_empty() { text } else { comment };
            continue;
        }
        let comment = std::mem::take(&mut comment);
        let Some((reason, number)) = line.split_once(" = ") else { continue };
        let number = number.trim_end_matches(';').parse().ok();
        let Some(known) = number.and_then(Reason::from_number) else { continue };
        assert_eq!(name(known), reason);
        let code = code_name(super::code(known));
        assert!(
            comment.starts_with(&format!("{code}: ")) || comment.starts_with(&format!("{code} ")),
            "{reason}: {comment}"
        );
        rows += 1;
    }
    assert_eq!(rows, Reason::ALL.len());
}

#[test]
fn every_reason_tells_itself_and_when_to_retry() {
    for (reason, code, retry) in table() {
        let status = status(&Failure::new(reason, "text"), "request-1", Spent::Nothing);
        assert_eq!((status.code(), status.message()), (code, "text"));
        let details = status.get_error_details();
        let info = details.error_info().expect("always there");
        assert_eq!((info.reason.as_str(), info.domain.as_str()), (name(reason), "causerie"));
        assert_eq!(details.request_info().expect("always there").request_id, "request-1");
        assert_eq!(details.quota_failure().is_some(), code == Code::ResourceExhausted);
        let delay = details.retry_info().and_then(|info| info.retry_delay).map(|delay| delay.as_millis());
        match retry {
            Retry::Later { default_ms } => assert_eq!(delay, Some(u128::from(default_ms))),
            Retry::Never | Retry::After(_) | Retry::IfTold => {
                assert_eq!((delay, pushback(&status)), (None, Some("-1")))
            }
        }
    }
}

#[test]
fn only_what_costs_nothing_is_retried_by_itself() {
    for (reason, code, _) in table() {
        let failure = Failure::new(reason, "text").retry_after_ms(1500);
        let free = status(&failure, "", Spent::Nothing);
        let never = matches!(
            reason,
            Reason::MessageTooLarge
                | Reason::BudgetExceeded
                | Reason::UpstreamProtocolError
                | Reason::TurnLimitExceeded
        );
        let retried = matches!(code, Code::Unavailable | Code::ResourceExhausted) && !never;
        assert_eq!(pushback(&free), Some(if retried { "1500" } else { "-1" }), "{reason:?}");
        let spent = status(&failure, "", Spent::Tokens);
        assert_ne!(spent.code(), Code::Unavailable, "meshes retry it");
        assert_eq!(pushback(&spent), Some("-1"));
    }
}

/// Headers as gRPC's C core counts them: names, values and 32 bytes each.
fn trailers(status: &Status) -> usize {
    let mut headers = HeaderMap::new();
    status.add_header(&mut headers).expect("valid headers");
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum()
}

#[test]
fn a_status_fits_the_metadata_of_every_client() {
    let violation = |i: usize| Violation { field: format!("inputs[{i}].é"), description: "ü".repeat(90) };
    let mut failure = Failure::invalid((0..400).map(violation).collect());
    failure.metadata = (0..40).map(|i| (format!("key{i}").into(), "wert €".repeat(200))).collect();
    failure.resource = Some(("conversation".into(), "x".repeat(9000)));
    let status = status(&failure, &"r".repeat(5000), Spent::Nothing);
    assert!(trailers(&status) < 8192, "{}", trailers(&status));
    let bad_request = status.get_details_bad_request().expect("it has violations");
    let (last, told) = bad_request.field_violations.split_last().expect("some");
    assert_eq!((last.field.as_str(), last.description.clone()), ("", format!("and {} more", 400 - told.len())));
    assert!(told.len() >= 3 && told[0].field == "inputs[0].é", "{}", told.len());
}

#[test]
fn fifty_violations_are_told_whole() {
    let violation = |i: usize| Violation { field: format!("stop[{i}]"), description: "is too long".to_owned() };
    let count = |n: usize| {
        let status = status(&Failure::invalid((0..n).map(violation).collect()), "id", Spent::Nothing);
        status.get_details_bad_request().expect("it has violations").field_violations
    };
    assert_eq!(count(50).len(), 50);
    let told = count(73);
    assert_eq!((told.len(), told[50].description.as_str()), (51, "and 23 more"));
}
