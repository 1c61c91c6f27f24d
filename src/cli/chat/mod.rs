//! `causerie chat`: a conversation at the terminal or through a pipe. A client of the service like any other.

mod command;
mod input;
mod pending;
mod read;
mod requests;
mod screen;
mod session;
mod spending;
mod steps;
mod text;
mod tree;
mod turn;

use std::env;

use clap::Args;

use self::{
    command::Command,
    input::{Input, Line},
    requests::Settings,
    screen::Screen,
    session::{Flow, Session},
};
use super::{Failure, connect::Server};

const MODEL_VARIABLE: &str = "CAUSERIE_MODEL";

/// What `causerie chat` takes.
#[derive(Debug, Args)]
pub struct ChatArgs {
    #[command(flatten)]
    server: Server,
    /// The model. A new conversation needs one (CAUSERIE_MODEL names it too); with CONVERSATION_ID it answers from here on.
    #[arg(short, long, value_name = "MODEL")]
    model: Option<String>,
    /// The agent that leads, from here on: its id, or a name that only one has. A new conversation has a model or an agent.
    #[arg(short, long, value_name = "AGENT")]
    agent: Option<String>,
    /// The version of the agent to keep to, by its number or an alias; without it, turns follow the current one.
    #[arg(long, value_name = "VERSION")]
    agent_version: Option<String>,
    /// The system text, from here on.
    #[arg(short, long, value_name = "TEXT")]
    instructions: Option<String>,
    /// The version to go on from; without it, a new conversation.
    conversation_id: Option<String>,
}

/// Chats until the user leaves or the pipe ends. In a pipe the first turn that fails or is cut off is the end, and a failure.
pub async fn run(args: ChatArgs) -> Result<(), Failure> {
    let settings = settings(&args, env::var(MODEL_VARIABLE).ok())?;
    let clients = args.server.connect_all().await?;
    let screen = Screen::of_process();
    let mut input = Input::open(screen.is_interactive())?;
    let mut session = Session::open(clients, screen, args.conversation_id, settings).await?;
    let ended = converse(&mut session, &mut input).await;
    session.say_goodbye()?;
    ended
}

async fn converse(session: &mut Session, input: &mut Input) -> Result<(), Failure> {
    loop {
        let line = match input.next(&session.prompt(), session.text_to_edit()).await? {
            Line::Text(line) => line,
            Line::Interrupted if session.is_interactive() => {
                session.interrupt()?;
                continue;
            }
            Line::Interrupted => return Err(Failure::new("interrupted")),
            Line::End => return session.end(),
        };
        let done = match command::parse(&line) {
            Ok(Command::Quit) => return Ok(()),
            Ok(command) => session.carry_out(command).await,
            Err(text) => Err(Failure::new(text)),
        };
        match done {
            Ok(Flow::Unfinished(failure)) | Err(failure) if !session.is_interactive() => return Err(failure),
            Err(failure) if failure.is_silent() => return Err(failure),
            Err(failure) => session.show_failure(&failure)?,
            Ok(Flow::Done | Flow::Unfinished(_)) => {}
        }
    }
}

/// What the first turn is led by. The variable is for new conversations only: it must not change the model of those that
/// have one.
fn settings(args: &ChatArgs, variable: Option<String>) -> Result<Settings, Failure> {
    let ChatArgs { server: _, model, agent, agent_version, instructions, conversation_id } = args;
    let settings = Settings {
        model: model.clone(),
        agent_id: agent.clone(),
        agent_version: agent_version.clone(),
        instructions: instructions.clone(),
    };
    if conversation_id.is_some() {
        return Ok(settings);
    }
    match (model, agent, variable.filter(|model| !model.is_empty())) {
        (Some(_), Some(_), _) => {
            Err(Failure::usage("a new conversation is led by a model or by an agent: leave out --model or --agent")
                .note("An agent brings its own model."))
        }
        (_, None, _) if agent_version.is_some() => Err(Failure::usage("--agent-version needs --agent")),
        (Some(_), None, _) | (None, Some(_), _) => Ok(settings),
        (None, None, Some(variable)) => Ok(Settings { model: Some(variable), ..settings }),
        (None, None, None) => Err(Failure::usage("a new conversation needs a model or an agent")
            .note("Name one: causerie chat --model mistral-small-latest, or set CAUSERIE_MODEL.")
            .note("A server that runs with --offline prints the names of its models when it starts.")),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        chat: ChatArgs,
    }

    /// Model, agent and its version of the first turn.
    fn led(line: &str, variable: Option<&str>) -> Result<[Option<String>; 3], Failure> {
        let line = Line::try_parse_from(format!("chat {line}").split_whitespace()).expect("flags are right");
        settings(&line.chat, variable.map(str::to_owned)).map(|led| [led.model, led.agent_id, led.agent_version])
    }

    #[test]
    fn a_conversation_begins_with_a_model_or_an_agent() {
        let some = |text: &str| Some(text.to_owned());
        for (line, variable, expected) in [
            ("--model m", None, [some("m"), None, None]),
            ("--model m", Some("v"), [some("m"), None, None]),
            ("", Some("v"), [some("v"), None, None]),
            ("--agent ag_1", None, [None, some("ag_1"), None]),
            ("--agent ag_1 --agent-version 3", Some("v"), [None, some("ag_1"), some("3")]),
            // What goes on may change both, and the variable changes nothing.
            ("conv_1", Some("v"), [None, None, None]),
            ("conv_1 --agent ag_1 --model m", None, [some("m"), some("ag_1"), None]),
            ("conv_1 --agent-version stable", None, [None, None, some("stable")]),
        ] {
            assert_eq!(led(line, variable).expect(line), expected, "{line}");
        }
        for (line, variable) in
            [("", None), ("", Some("")), ("--model m --agent ag_1", None), ("--model m --agent-version 1", None)]
        {
            assert!(led(line, variable).is_err(), "{line}");
        }
    }
}
