//! What a line means.

use std::path::PathBuf;

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
    /// Show what this version's history has used and cost.
    Cost,
    /// What the function returned that the model asked for.
    Result(String),
    /// Show the commands.
    Help,
    /// Leave.
    Quit,
}

/// What `/help` shows.
pub(super) const HELP: &str = "\
/history            show this version's history; questions have numbers
/versions           draw all versions of this conversation; versions have numbers
/restart            ask for another answer to the last question
/restart N          edit question N and go on from there (or an entry id: go on after that entry)
/branch N           go to version N of /versions (or an id, or the end of one)
/continue           go on with an answer that was cut off (so does an empty line)
/model NAME         use another model from the next turn on
/models             list the models that the service knows of, with their windows and prices
/cost               show what this conversation has used and cost
/result TEXT        answer the function call that the model waits for (so does plain text)
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
        "result" => Ok(Command::Result(rest.to_owned())),
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
        "help" | "?" => Command::Help,
        "quit" | "exit" => Command::Quit,
        _ => return Err(format!("there is no /{name}; /help shows what there is, and // begins a line with a slash")),
    };
    if rest.is_empty() { Ok(command) } else { Err(format!("/{name} takes nothing after it")) }
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
            ("/quit", Command::Quit),
        ];
        for (line, command) in cases {
            assert_eq!(parse(line), Ok(command), "{line}");
        }
    }

    #[test]
    fn what_is_no_command_is_refused_not_said() {
        for line in ["/versoins", "/", "/save", "/quit now"] {
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
