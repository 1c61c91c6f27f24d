//! Failures as `google.rpc.Status`: the error of a turn, of an event, and, shortened, the status of a call.

use std::collections::BTreeMap;

use prost::Message;
use prost_types::{Any, Duration};
use tonic::Code;
use tonic_types::pb;

use super::{path::Path, violations::Violations};
use crate::{
    domain::{Failure, Reason, Violation},
    grpc::{DOMAIN, status},
    proto::ErrorReason,
};

/// `google.rpc.ErrorInfo` with an ordered map: the same failure has the same bytes every time it is sent.
#[derive(Clone, PartialEq, Message)]
struct ErrorInfo {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(string, tag = "2")]
    domain: String,
    #[prost(btree_map = "string, string", tag = "3")]
    metadata: BTreeMap<String, String>,
}

/// The failure as a turn and its events carry it. Nothing is lost on the way back.
pub fn write(failure: &Failure) -> pb::Status {
    pb::Status {
        code: status::code(failure.reason) as i32,
        message: failure.message.clone(),
        details: details(failure),
    }
}

/// The details that follow from the failure alone; a call adds its request id. At most one of each type (AIP-193).
pub(in crate::grpc) fn details(failure: &Failure) -> Vec<Any> {
    let Failure { reason, message: _, metadata, violations, retry_after_ms, resource } = failure;
    let metadata = metadata.iter().map(|(key, value)| (key.to_string(), value.clone())).collect();
    let info = ErrorInfo { reason: status::name(*reason).to_owned(), domain: DOMAIN.to_owned(), metadata };
    let mut details = vec![any("google.rpc.ErrorInfo", &info)];
    if let Some(ms) = retry_after_ms {
        details.push(any("google.rpc.RetryInfo", &retry_info(*ms)));
    }
    if !violations.is_empty() {
        details.push(any("google.rpc.BadRequest", &bad_request(violations)));
    }
    if let Some((kind, name)) = resource {
        let (resource_type, resource_name) = (kind.to_string(), name.clone());
        let info = pb::ResourceInfo { resource_type, resource_name, ..pb::ResourceInfo::default() };
        details.push(any("google.rpc.ResourceInfo", &info));
    }
    if status::code(*reason) == Code::ResourceExhausted {
        details.push(any("google.rpc.QuotaFailure", &pb::QuotaFailure { violations: vec![quota_violation(failure)] }));
    }
    details
}

/// A detail, as `google.rpc.Status` wraps it.
pub(in crate::grpc) fn any(name: &str, message: &impl Message) -> Any {
    Any { type_url: format!("type.googleapis.com/{name}"), value: message.encode_to_vec() }
}

fn retry_info(ms: u64) -> pb::RetryInfo {
    let seconds = i64::try_from(ms / 1000).expect("a thousandth of a u64 is an i64");
    let nanos = i32::try_from(ms % 1000 * 1_000_000).expect("less than a second is less than 2^31 nanoseconds");
    pb::RetryInfo { retry_delay: Some(Duration { seconds, nanos }) }
}

/// Which limit was met, and whose.
fn quota_violation(failure: &Failure) -> pb::quota_failure::Violation {
    let told = |key: &str| failure.metadata.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
    let (subject, description) = match (failure.reason, told("limit"), told("model"), told("provider")) {
        (Reason::BudgetExceeded, ..) => {
            let (budget, limit) = (told("budget").unwrap_or_default(), told("limit").unwrap_or_default());
            (
                format!("budget:{budget}"),
                format!("the budget has {limit}, and {} are left", told("left").unwrap_or_default()),
            )
        }
        (Reason::RateLimitExceeded, Some(limit), Some(model), _) => {
            (format!("model:{model}"), format!("{limit} of {model}"))
        }
        (Reason::RateLimitExceeded, _, _, Some(provider)) => {
            (format!("provider:{provider}"), format!("the rate limit of {provider} itself"))
        }
        (reason, ..) => (status::name(reason).to_ascii_lowercase(), "the message tells the limit".to_owned()),
    };
    pb::quota_failure::Violation { subject, description, ..Default::default() }
}

fn bad_request(violations: &[Violation]) -> pb::BadRequest {
    let violations = violations.iter().map(|Violation { field, description }| pb::bad_request::FieldViolation {
        field: field.clone(),
        description: description.clone(),
        ..Default::default()
    });
    pb::BadRequest { field_violations: violations.collect() }
}

/// A failure of an import. Metadata come back in the order of their keys.
pub(super) fn read(at: &Path<'_>, status: pb::Status, violations: &mut Violations) -> Option<Failure> {
    // The code follows from the reason.
    let pb::Status { code: _, message, details } = status;
    let at = at.field("details");
    let Some(info) = find::<ErrorInfo>(&details, "google.rpc.ErrorInfo") else {
        violations.add(&at, format_args!("must hold a google.rpc.ErrorInfo"));
        return None;
    };
    let reason = (info.domain == DOMAIN).then(|| ErrorReason::from_str_name(&info.reason)).flatten();
    let Some(reason) = reason.and_then(|reason| Reason::from_number(u8::try_from(i32::from(reason)).ok()?)) else {
        violations.add(&at, format_args!("must hold an ErrorInfo of domain \"{DOMAIN}\" with a reason of ErrorReason"));
        return None;
    };
    let retry = find::<pb::RetryInfo>(&details, "google.rpc.RetryInfo").and_then(|info| info.retry_delay);
    let fields = find::<pb::BadRequest>(&details, "google.rpc.BadRequest").unwrap_or_default().field_violations;
    let fields =
        fields.into_iter().map(|violation| Violation { field: violation.field, description: violation.description });
    let resource = find::<pb::ResourceInfo>(&details, "google.rpc.ResourceInfo");
    Some(Failure {
        reason,
        message,
        metadata: info.metadata.into_iter().map(|(key, value)| (key.into(), value)).collect(),
        violations: fields.collect(),
        retry_after_ms: retry.and_then(|delay| {
            let nanos = u64::try_from(delay.nanos).ok()?;
            u64::try_from(delay.seconds).ok()?.checked_mul(1000)?.checked_add(nanos / 1_000_000)
        }),
        resource: resource.map(|resource| (resource.resource_type.into(), resource.resource_name)),
    })
}

/// The detail of this type, if there is one that can be decoded.
fn find<M: Message + Default>(details: &[Any], name: &str) -> Option<M> {
    let detail = details.iter().find(|detail| detail.type_url.rsplit('/').next() == Some(name))?;
    M::decode(detail.value.as_slice()).ok()
}
