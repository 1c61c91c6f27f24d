//! Collects every rule that a message breaks, to tell the caller all of them at once.

use std::fmt;

use super::path::Path;
use crate::domain::{Failure, Reason, Violation};

/// So many violations are kept, the rest is counted: a 4 MiB request can break a rule a million times.
const KEPT: usize = 1000;

/// The name of the metadata value that says how many violations there were when not all of them are listed.
pub const COUNT: &str = "violation_count";

/// What a message is held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rules {
    /// Every limit of the contract: a caller's request.
    All,
    /// Only that it can be understood: an import of what a store gave out.
    Shape,
}

/// The rules that a message breaks.
#[derive(Debug)]
pub struct Violations {
    rules: Rules,
    kept: Vec<Violation>,
    dropped: usize,
}

impl Violations {
    /// Whether limits count, or only the shape.
    pub fn checks_limits(&self) -> bool {
        match self.rules {
            Rules::All => true,
            Rules::Shape => false,
        }
    }

    /// The field breaks a rule. The description states the rule, how far it was missed and what to change; it never quotes
    /// content, which may be secret.
    pub fn add(&mut self, at: &Path<'_>, description: fmt::Arguments<'_>) {
        if self.kept.len() < KEPT {
            self.kept.push(Violation { field: at.to_string(), description: description.to_string() });
        } else {
            self.dropped += 1;
        }
    }

    fn into_failure(self) -> Failure {
        let mut failure = Failure::invalid(self.kept);
        if self.dropped > 0 {
            failure.message.push_str(&format!(" (and {} more that are not listed)", self.dropped));
            failure = failure.with(COUNT, (KEPT + self.dropped).to_string());
        }
        failure
    }
}

/// Reads a message. The reader returns `None` only where it has added a violation; what it returns counts only if nobody
/// has added one.
pub fn read<T>(rules: Rules, reader: impl FnOnce(&mut Violations) -> Option<T>) -> Result<T, Failure> {
    let mut violations = Violations { rules, kept: Vec::new(), dropped: 0 };
    match reader(&mut violations) {
        Some(value) if violations.kept.is_empty() => Ok(value),
        None if violations.kept.is_empty() => {
            Err(Failure::new(Reason::Internal, "a request was refused without a reason; please report it"))
        }
        Some(_) | None => Err(violations.into_failure()),
    }
}

#[cfg(test)]
mod tests {
    use super::{COUNT, KEPT, Rules, read};
    use crate::grpc::convert::path::Path;

    #[test]
    fn what_is_not_kept_is_counted() {
        let failure = read(Rules::All, |violations| {
            (0..KEPT + 7).for_each(|i| violations.add(&Path::root("").item("inputs", i), format_args!("is wrong")));
            Some(())
        })
        .expect_err("there are violations");
        assert_eq!(failure.violations.len(), KEPT);
        assert_eq!(failure.metadata, [(COUNT.into(), (KEPT + 7).to_string())]);
    }
}
