//! Why a command failed, as a person is told: one sentence, then what to do.

use std::{collections::HashMap, error::Error, fmt, io, process::ExitCode};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, RpcStatusExt, StatusExt, pb};

/// Why a command failed. Its text is one short sentence; its notes say what to do.
#[derive(Debug)]
pub struct Failure {
    text: String,
    notes: Vec<String>,
    reason: Option<String>,
    metadata: HashMap<String, String>,
    exit: Exit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    Failed,
    Usage,
    /// The reader of our output left; there is nobody to tell.
    Silent,
}

impl Failure {
    /// Something failed that was rightly asked.
    pub fn new(text: impl Into<String>) -> Failure {
        let (notes, metadata) = (Vec::new(), HashMap::new());
        Failure { text: text.into(), notes, reason: None, metadata, exit: Exit::Failed }
    }

    /// Something failed, with all that is known of why.
    pub fn caused(error: &(dyn Error + 'static)) -> Failure {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        Failure::new(text)
    }

    /// Something was asked that is not understood.
    pub fn usage(text: impl Into<String>) -> Failure {
        Failure { exit: Exit::Usage, ..Failure::new(text) }
    }

    /// The same, with a line on what to do.
    #[must_use]
    pub fn note(mut self, text: impl Into<String>) -> Failure {
        self.notes.push(text.into());
        self
    }

    /// The sentence, without what to do.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The reason of the error table, if the service gave one.
    pub(super) fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// What the service tells machines beside the reason, empty if nothing.
    pub(super) fn detail(&self, key: &str) -> &str {
        self.metadata.get(key).map_or("", String::as_str)
    }

    /// 1 if it failed, 2 if it was not understood.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(if self.exit == Exit::Usage { 2 } else { 1 })
    }

    /// Whether there is somebody to tell.
    pub fn is_silent(&self) -> bool {
        self.exit == Exit::Silent
    }

    /// What a status of the service says, in full.
    pub(super) fn of_status(status: &Status) -> Failure {
        let details = status.get_error_details();
        if details.error_info().is_none() {
            return without_details(status);
        }
        with_details(status.message(), &details)
    }

    /// The same for a status that came inside a message.
    pub(super) fn of_rpc_status(status: &pb::Status) -> Failure {
        with_details(&status.message, &status.get_error_details())
    }
}

fn with_details(message: &str, details: &ErrorDetails) -> Failure {
    let reason = details.error_info().map(|info| info.reason.clone());
    let request = details.bad_request();
    let violations: Vec<_> = request.into_iter().flat_map(|request| &request.field_violations).collect();
    // What is wrong with each field is told below, one a line.
    let message = match violations.first().and_then(|first| message.find(&first.field)) {
        Some(place) if place > 0 => message[..place].trim_end_matches([' ', ':']),
        Some(_) | None => message,
    };
    let text = match &reason {
        Some(reason) => format!("{message} ({reason})"),
        None => message.to_owned(),
    };
    let metadata = details.error_info().map(|info| info.metadata.clone()).unwrap_or_default();
    let mut failure = Failure { reason, metadata, ..Failure::new(text) };
    for violation in violations {
        failure = failure.note(format!("{}: {}", violation.field, violation.description));
    }
    if let Some(delay) = details.retry_info().and_then(|retry| retry.retry_delay) {
        failure = failure.note(format!("Try again in {:.1} s.", delay.as_secs_f64()));
    }
    if let Some(request) = details.request_info() {
        failure = failure.note(format!("The server's log has it under {}.", request.request_id));
    }
    failure
}

/// A status that the service did not make: there is no service, or something stands between.
fn without_details(status: &Status) -> Failure {
    let cause = status.source().map_or_else(|| status.message().to_owned(), deepest);
    match status.code() {
        Code::Unavailable | Code::Unknown => unreachable(&cause),
        Code::Unimplemented => Failure::new("the server does not know this call; is it a causerie of this version?"),
        code => Failure::new(format!("{cause} ({code:?})")),
    }
}

/// Nobody answers.
pub(super) fn unreachable(cause: &str) -> Failure {
    Failure::new(format!("the server does not answer: {cause}"))
        .note("Start one with `causerie serve`, or name another one with --server or CAUSERIE_SERVER.")
}

/// The innermost error says what happened; those around it say only that something did.
pub(super) fn deepest(error: &(dyn Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.text)?;
        self.notes.iter().try_for_each(|note| write!(f, "\n  {note}"))
    }
}

impl Error for Failure {}

impl From<Status> for Failure {
    fn from(status: Status) -> Failure {
        Failure::of_status(&status)
    }
}

/// For our own output, where `?` is all that can be done.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        let exit = if error.kind() == io::ErrorKind::BrokenPipe { Exit::Silent } else { Exit::Failed };
        Failure { exit, ..Failure::new(format!("the output cannot be written: {error}")) }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, time::Duration};

    use super::*;

    #[test]
    fn a_status_is_told_with_reason_fields_and_when_to_retry() {
        let mut details = ErrorDetails::with_error_info("INVALID_REQUEST", "causerie", HashMap::new());
        details.add_bad_request_violation("inputs[0].role", "must be given");
        details.set_retry_info(Some(Duration::from_millis(1500)));
        details.set_request_info("req-1", "");
        let status = Status::with_error_details(
            Code::InvalidArgument,
            "the request is invalid: inputs[0].role must be given",
            details,
        );
        let failure = Failure::of_status(&status);
        assert_eq!(failure.reason(), Some("INVALID_REQUEST"));
        assert_eq!(
            failure.to_string(),
            "error: the request is invalid (INVALID_REQUEST)\n  inputs[0].role: must be given\n  Try again in 1.5 s.\n  \
             The server's log has it under req-1."
        );
    }

    #[test]
    fn a_status_that_is_not_of_the_service_says_what_may_be_missing() {
        let failure = Failure::of_status(&Status::unavailable("connection refused"));
        assert!(failure.to_string().contains("`causerie serve`"), "{failure}");
        assert_eq!(failure.reason(), None);
    }

    #[test]
    fn a_reader_that_left_is_not_told() {
        assert!(Failure::from(io::Error::from(io::ErrorKind::BrokenPipe)).is_silent());
    }
}
