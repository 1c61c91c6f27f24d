//! Which functions the stand-in calls, and with what arguments.

use serde_json::{Value, json};

use super::directive::Directed;
use super::example;
use super::identity::Dice;
use super::request::{Function, Mode, Request, ToolChoice};

/// A function call of an answer.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) id: String,
    pub(super) name: String,
    /// JSON text.
    pub(super) arguments: String,
}

/// The calls that a user's text asks for: one for each function that it names, in the order of naming. A choice that
/// demands a call gets one in any case, `parallel_tool_calls: false` never more than one.
pub(super) fn of(request: &Request, text: &str, dice: &mut Dice) -> Vec<Call> {
    let mut functions = chosen(request, text);
    if request.parallel_tool_calls == Some(false) {
        functions.truncate(1);
    }
    let mut given = json_object(text);
    functions
        .into_iter()
        .map(|function| Call {
            id: dice.tool_call_id(),
            name: function.name.clone(),
            // The object that the user wrote belongs to the first call.
            arguments: given.take().unwrap_or_else(|| example::of(&function.parameters, "value")).to_string(),
        })
        .collect()
}

/// The call that directives ask for in this round: the first one in the first answer to a message, and so on.
pub(super) fn directed(request: &Request, calls: &[Directed], dice: &mut Dice) -> Vec<Call> {
    let round = request.rounds();
    let may_call = !matches!(request.tool_choice, Some(ToolChoice::Mode(Mode::None)));
    let due = calls.get(round).filter(|_| may_call);
    let call = due.map(|Directed { name, arguments }| {
        let example = || {
            let offered = request.functions().find(|function| function.name == *name);
            offered.map_or_else(|| json!({}), |function| example::of(&function.parameters, "value"))
        };
        let arguments = arguments.clone().map_or_else(example, Value::from);
        Call { id: dice.tool_call_id(), name: name.clone(), arguments: arguments.to_string() }
    });
    call.into_iter().collect()
}

fn chosen<'a>(request: &'a Request, text: &str) -> Vec<&'a Function> {
    let named = || named_in(request, text);
    match &request.tool_choice {
        None | Some(ToolChoice::Mode(Mode::Auto)) => named(),
        Some(ToolChoice::Mode(Mode::None)) => Vec::new(),
        Some(ToolChoice::Mode(Mode::Any | Mode::Required)) => {
            let found = named();
            if found.is_empty() { request.functions().take(1).collect() } else { found }
        }
        Some(ToolChoice::Named { function }) => {
            request.functions().filter(|offered| offered.name == function.name).take(1).collect()
        }
    }
}

fn named_in<'a>(request: &'a Request, text: &str) -> Vec<&'a Function> {
    let mut found: Vec<_> =
        request.functions().filter_map(|function| Some((place(text, &function.name)?, function))).collect();
    found.sort_by_key(|(place, _)| *place);
    found.into_iter().map(|(_, function)| function).collect()
}

/// Where a function's name stands as a word of its own.
pub(super) fn place(text: &str, name: &str) -> Option<usize> {
    let part_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    text.match_indices(name).map(|(start, _)| start).find(|start| {
        let before = text[..*start].chars().next_back();
        let after = text[start + name.len()..].chars().next();
        !before.is_some_and(part_of_name) && !after.is_some_and(part_of_name)
    })
}

/// The first JSON object in a text.
fn json_object(text: &str) -> Option<Value> {
    text.match_indices('{').find_map(|(start, _)| {
        let mut values = serde_json::Deserializer::from_str(&text[start..]).into_iter::<Value>();
        values.next()?.ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_counts_only_as_a_word() {
        assert_eq!(place("call get_time_now or get_time, please", "get_time"), Some(21));
        assert_eq!(place("forget_time", "get_time"), None);
    }

    #[test]
    fn the_first_object_in_a_text_is_found() {
        let found = json_object("use {this} no, {\"a\": {\"b\": 1}} yes").map(|value| value.to_string());
        assert_eq!(found.as_deref(), Some(r#"{"a":{"b":1}}"#));
        assert_eq!(json_object("none here {"), None);
    }
}
