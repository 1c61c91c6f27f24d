//! What a line means.

use std::path::PathBuf;

use serde_json::{Map, Value};

/// A line, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    /// An empty line: goes on with an unfinished answer, else nothing.
    Empty,
    /// Say this to the model.
    Say(String),
    /// Go on with an unfinished answer.
    Continue,
    /// Show the history of this version.
    History,
    /// Show the tree of versions.
    Versions,
    /// Go back to a question, by number or entry id; without one, ask for another answer.
    Restart(Option<String>),
    /// Go to another version, by number or id; without one, show them.
    Branch(Option<String>),
    /// Export the tree.
    Save(PathBuf),
    /// Use another model from the next turn on; without one, say which.
    Model(Option<String>),
    /// List the models that turns can name.
    Models,
    /// Let another agent lead from the next turn on; without one, say who leads.
    Agent(Option<String>),
    /// Show what this version's history has used and cost.
    Cost,
    /// What the function returned that the model asked for.
    Result(String),
    /// Agree to calls; with other arguments than the model's, if some are given.
    Approve(Which, Option<String>),
    /// Do not agree to calls, with a reason that may be empty.
    Deny(Which, String),
    /// Go on without the calls that wait.
    Skip,
    /// What a person who was asked says in the assistant's place.
    Assistant(String),
    /// Show the commands.
    Help,
    /// Leave.
    Quit,
}

/// Which of the calls that need consent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Which {
    /// The only one that is undecided.
    Only,
    /// All that are undecided.
    All,
    /// These, counted from 1.
    Numbers(Vec<usize>),
}

/// What `/help` shows.
pub(super) const HELP: &str = "\
/history            show this version's history; questions have numbers
/versions           draw all versions of this conversation; versions have numbers
/restart            ask for another answer to the last question; tools that ran are not run again
/restart N          edit question N and go on from there (or an entry id: go on after that entry)
/branch N           go to version N of /versions (or an id, or the end of one)
/continue           go on with an answer that was cut off (so does an empty line)
/model NAME         use another model from the next turn on
/models             list the models that the service knows of, with their windows and prices
/agent ID           let another agent lead from the next turn on
/cost               show what this conversation has used and cost
/result TEXT        answer the function call that the model waits for (so does plain text)
/approve            run the tool that needs your consent (so does y)
/approve 1 3        run these; or `all`; or one of them with other arguments: /approve 2 {\"path\": \"b\"}
/deny               do not run it (so does n); /deny 2 or `all`, and why: the model is told
/skip               go on without the calls that wait
/assistant TEXT     when a person is asked: answer in the assistant's place (plain text answers as the user)
/save FILE          write the conversation with all its versions to FILE, for `causerie import`
/quit               leave (so does Ctrl-D)
Ctrl-C stops a running answer. A line that begins with // is said with one slash.";

/// Understands a line, or says what is wrong with it.
pub(super) fn parse(line: &str) -> Result<Command, String> {
    let trimmed = line.trim();
    if trimmed.is_empty() {
        return Ok(Command::Empty);
    }
    let Some(command) = trimmed.strip_prefix('/') else { return Ok(Command::Say(line.to_owned())) };
    if command.starts_with('/') {
        return Ok(Command::Say(command.to_owned()));
    }
    let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
    let rest = rest.trim();
    let argument = || (!rest.is_empty()).then(|| rest.to_owned());
    match name {
        "restart" => Ok(Command::Restart(argument())),
        "branch" => Ok(Command::Branch(argument())),
        "model" => Ok(Command::Model(argument())),
        "agent" => Ok(Command::Agent(argument())),
        "result" => Ok(Command::Result(rest.to_owned())),
        "approve" => approve(rest),
        "deny" => {
            let (which, reason) = selection(rest);
            Ok(Command::Deny(which, reason.to_owned()))
        }
        "assistant" => argument().map(Command::Assistant).ok_or_else(|| "/assistant needs what is said".into()),
        "save" => argument().map(|path| Command::Save(path.into())).ok_or_else(|| "/save needs a file's name".into()),
        _ => without_argument(name, rest),
    }
}

fn without_argument(name: &str, rest: &str) -> Result<Command, String> {
    let command = match name {
        "continue" => Command::Continue,
        "history" => Command::History,
        "versions" => Command::Versions,
        "models" => Command::Models,
        "cost" => Command::Cost,
        "skip" => Command::Skip,
        "help" | "?" => Command::Help,
        "quit" | "exit" => Command::Quit,
        _ => return Err(format!("there is no /{name}; /help shows what there is, and // begins a line with a slash")),
    };
    if rest.is_empty() { Ok(command) } else { Err(format!("/{name} takes nothing after it")) }
}

fn approve(rest: &str) -> Result<Command, String> {
    let (which, arguments) = selection(rest);
    if arguments.is_empty() {
        return Ok(Command::Approve(which, None));
    }
    if serde_json::from_str::<Map<String, Value>>(arguments).is_err() {
        return Err(
            "after the numbers or `all`, /approve takes only the arguments to run with, as a JSON object".into()
        );
    }
    Ok(Command::Approve(which, Some(arguments.to_owned())))
}

/// The numbers that a text begins with, or `all`; and what comes after them.
fn selection(text: &str) -> (Which, &str) {
    let mut numbers = Vec::new();
    let mut rest = text;
    loop {
        let (word, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        match word.parse() {
            Ok(number) => numbers.push(number),
            Err(_) if word == "all" && numbers.is_empty() => return (Which::All, after.trim_start()),
            Err(_) => break,
        }
        rest = after.trim_start();
    }
    if numbers.is_empty() { (Which::Only, rest) } else { (Which::Numbers(numbers), rest) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_what_they_mean() {
        let cases = [
            ("Hello  ", Command::Say("Hello  ".into())),
            ("  indented", Command::Say("  indented".into())),
            (" ", Command::Empty),
            ("//etc is a directory", Command::Say("/etc is a directory".into())),
            ("/restart", Command::Restart(None)),
            ("/restart  3 ", Command::Restart(Some("3".into()))),
            ("/branch conv_1", Command::Branch(Some("conv_1".into()))),
            ("/save a b.jsonl", Command::Save("a b.jsonl".into())),
            ("/model", Command::Model(None)),
            ("/models", Command::Models),
            ("/cost", Command::Cost),
            ("/result", Command::Result(String::new())),
            ("/result {\"a\": 1}", Command::Result("{\"a\": 1}".into())),
            ("/agent", Command::Agent(None)),
            ("/agent agent_1", Command::Agent(Some("agent_1".into()))),
            ("/skip", Command::Skip),
            ("/assistant It is paid. ", Command::Assistant("It is paid.".into())),
            ("/quit", Command::Quit),
        ];
        for (line, command) in cases {
            assert_eq!(parse(line), Ok(command), "{line}");
        }
    }

    #[test]
    fn decisions_name_calls_arguments_and_reasons() {
        let numbers = |numbers: &[usize]| Which::Numbers(numbers.to_vec());
        let cases = [
            ("/approve", Command::Approve(Which::Only, None)),
            ("/approve all", Command::Approve(Which::All, None)),
            ("/approve 1  3", Command::Approve(numbers(&[1, 3]), None)),
            ("/approve {\"a\": 1}", Command::Approve(Which::Only, Some("{\"a\": 1}".into()))),
            ("/approve 2 {\"a\": \"b c\"}", Command::Approve(numbers(&[2]), Some("{\"a\": \"b c\"}".into()))),
            ("/deny", Command::Deny(Which::Only, String::new())),
            ("/deny not that one", Command::Deny(Which::Only, "not that one".into())),
            ("/deny all  it is needed", Command::Deny(Which::All, "it is needed".into())),
            ("/deny 2 1 all of it", Command::Deny(numbers(&[2, 1]), "all of it".into())),
        ];
        for (line, command) in cases {
            assert_eq!(parse(line), Ok(command), "{line}");
        }
    }

    #[test]
    fn what_is_no_command_is_refused_not_said() {
        for line in [
            "/versoins",
            "/",
            "/save",
            "/quit now",
            "/approve it",
            "/approve 1 {a}",
            "/approve [1]",
            "/skip 1",
            "/assistant",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn help_names_every_command() {
        for line in HELP.lines().filter(|line| line.starts_with('/')) {
            let example = line.split("  ").next().unwrap_or_default();
            assert!(parse(example).is_ok(), "{example}");
        }
    }
}
