//! `causerie chat`: a conversation at the terminal or through a pipe. A client of the service like any other.

mod command;
mod input;
mod read;
mod requests;
mod screen;
mod session;
mod spending;
mod text;
mod tree;
mod turn;

use std::env;

use clap::Args;

use self::{
    command::Command,
    input::{Input, Line},
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
    /// The system text, from here on.
    #[arg(short, long, value_name = "TEXT")]
    instructions: Option<String>,
    /// The version to go on from; without it, a new conversation.
    conversation_id: Option<String>,
}

/// Chats until the user leaves or the pipe ends. In a pipe the first turn that fails or is cut off is the end, and a failure.
pub async fn run(args: ChatArgs) -> Result<(), Failure> {
    let model = chosen_model(&args, env::var(MODEL_VARIABLE).ok())?;
    let clients = args.server.connect_both().await?;
    let screen = Screen::of_process();
    let mut input = Input::open(screen.is_interactive())?;
    let mut session = Session::open(clients, screen, args.conversation_id, model, args.instructions).await?;
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
            Line::End => return Ok(()),
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

/// The variable is for new conversations only: it must not change the model of those that have one.
fn chosen_model(args: &ChatArgs, variable: Option<String>) -> Result<Option<String>, Failure> {
    if args.model.is_some() || args.conversation_id.is_some() {
        return Ok(args.model.clone());
    }
    match variable.filter(|model| !model.is_empty()) {
        Some(model) => Ok(Some(model)),
        None => Err(Failure::usage("a new conversation needs a model")
            .note("Name one: causerie chat --model mistral-small-latest, or set CAUSERIE_MODEL.")
            .note("A server that runs with --offline prints the names of its models when it starts.")),
    }
}
