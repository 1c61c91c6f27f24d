//! The rules over several messages, as `validator.py` of `mistralai/mistral-common` has them: which role may follow which,
//! and that every tool call has one result. Mistral answers 400 with the first violation.

use std::collections::HashSet;

use crate::offline::failure::Failure;
use crate::offline::request::{Function, Message, Role, ToolCall};

/// Message order, tool call ids, and that every assistant message says something.
pub(super) fn check(messages: &[Message]) -> Result<(), Failure> {
    check_ends(messages)?;
    for pair in messages.windows(2) {
        check_succession(pair[0].role, pair[1].role)?;
    }
    let mut pending = Pending::default();
    for (index, message) in messages.iter().enumerate() {
        match message.role {
            Role::System => {}
            Role::User => pending.none_left()?,
            Role::Tool => pending.answer(message)?,
            Role::Assistant => {
                pending.none_left()?;
                check_assistant(message, index + 1 == messages.len())?;
                pending.ask(message.calls())?;
            }
        }
    }
    pending.none_left()
}

/// Names of the functions offered.
pub(super) fn check_tools<'a>(functions: impl Iterator<Item = &'a Function>) -> Result<(), Failure> {
    for function in functions {
        check_name(&function.name)?;
    }
    Ok(())
}

fn check_ends(messages: &[Message]) -> Result<(), Failure> {
    let (Some(first), Some(last)) = (messages.first(), messages.last()) else {
        return Err(Failure::order("Conversation must have at least one message"));
    };
    if messages.len() == 1 && matches!(first.role, Role::Assistant | Role::Tool) {
        return Err(Failure::order("Conversation must start with a user message or system message"));
    }
    let last_is_fine = match last.role {
        Role::User | Role::Tool => true,
        Role::Assistant => last.prefix,
        Role::System => false,
    };
    if !last_is_fine {
        return Err(Failure::order(&format!(
            "Expected last role User or Tool (or Assistant with prefix True) for serving but got {}",
            last.role.name()
        )));
    }
    Ok(())
}

fn check_succession(before: Role, after: Role) -> Result<(), Failure> {
    let allowed: &[Role] = match before {
        Role::System => &[Role::User, Role::Assistant, Role::System],
        Role::User => &[Role::Assistant, Role::System, Role::User],
        Role::Assistant => &[Role::Assistant, Role::User, Role::Tool],
        Role::Tool => &[Role::Assistant, Role::Tool, Role::User],
    };
    if allowed.contains(&after) {
        return Ok(());
    }
    Err(Failure::order(&format!("Unexpected role '{}' after role '{}'", after.name(), before.name())))
}

fn check_assistant(message: &Message, is_last: bool) -> Result<(), Failure> {
    if !message.says_something() && message.calls().is_empty() {
        let text = "Assistant message must have either content or tool_calls, but not none.";
        return Err(Failure::bad_request("invalid_request_error", None, text));
    }
    if message.says_something() && !message.calls().is_empty() {
        let text = "Assistant message must have either content or tool_calls, but not both.";
        return Err(Failure::bad_request("invalid_request_error", None, text));
    }
    if message.prefix && !is_last {
        let text = "Assistant message with prefix True must be last message";
        return Err(Failure::bad_request("invalid_request_error", None, text));
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), Failure> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if (1..=64).contains(&name.len()) && name.chars().all(fits) {
        return Ok(());
    }
    Err(Failure::function_call(&format!(
        "Function name was {name} but must be a-z, A-Z, 0-9, or contain underscores and dashes, with a maximum length of 64."
    )))
}

/// The calls that have no result yet, and all ids seen.
#[derive(Default)]
struct Pending<'a> {
    open: HashSet<&'a str>,
    seen: HashSet<&'a str>,
}

impl<'a> Pending<'a> {
    fn ask(&mut self, calls: &'a [ToolCall]) -> Result<(), Failure> {
        for call in calls {
            check_name(&call.function.name)?;
            check_id(&call.id)?;
            if !self.seen.insert(&call.id) {
                return Err(Failure::function_call(&format!("Duplicate tool call id {}", call.id)));
            }
            self.open.insert(&call.id);
        }
        Ok(())
    }

    fn answer(&mut self, message: &'a Message) -> Result<(), Failure> {
        let Some(id) = message.tool_call_id.as_deref() else {
            return Err(Failure::function_call("Tool call id has to be defined."));
        };
        check_id(id)?;
        if let Some(name) = &message.name {
            check_name(name)?;
        }
        match self.open.remove(id) {
            true => Ok(()),
            false => Err(Failure::order(&format!("Unexpected tool call id {id} in tool results"))),
        }
    }

    fn none_left(&self) -> Result<(), Failure> {
        match self.open.is_empty() {
            true => Ok(()),
            false => Err(Failure::order("Not the same number of function calls and responses")),
        }
    }
}

fn check_id(id: &str) -> Result<(), Failure> {
    if id == "null" {
        return Err(Failure::function_call("Tool call id has to be defined in serving mode."));
    }
    if id.len() == 9 && id.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Ok(());
    }
    Err(Failure::function_call(&format!("Tool call id was {id} but must be a-z, A-Z, 0-9, with a length of 9.")))
}
