//! Where the user is in the tree, and what each command does there.

mod answers;
mod lead;
mod places;
mod turns;

use std::env;

use jiff::Timestamp;

use super::{
    command::{Command, HELP},
    pending::{Pending, needs_consent},
    requests::{Place, Settings},
    screen::Screen,
    text::{self, Names},
};
use crate::{
    cli::{
        Failure,
        connect::{Agents, Client, Models},
    },
    proto::{ErrorReason, FunctionCall, restart_request::Boundary},
};

/// A chat: a place in a tree, and what is pending there.
pub(super) struct Session {
    client: Client,
    models: Models,
    agents: Agents,
    screen: Screen,
    /// The version that the next turn runs on; none before the first turn.
    version: Option<String>,
    /// The model of that version; empty if it is the agent's own.
    model: String,
    /// The agent that leads there; empty: none does.
    agent_id: String,
    /// The names of agents, as far as they are known.
    names: Names,
    /// What the next turn changes.
    settings: Settings,
    /// Where the next message goes, if not to the end.
    place: Option<Place>,
    /// The calls that wait for results or consent, and what was said to them so far.
    pending: Pending,
    /// How the version ends.
    ending: Ending,
    /// Who decides on calls, for the record; empty if the environment does not say.
    user: String,
}

/// How a version ends, as far as it matters for what comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Ending {
    /// With an answer, or with calls that wait.
    Whole,
    /// With an answer or a tool loop that was cut off.
    CutOff,
    /// With a handoff to the agent of this name, who has not been asked yet.
    HandedOver(String),
    /// With this message to a person.
    AsksPerson(String),
}

/// What came of a command.
pub(super) enum Flow {
    /// All is well.
    Done,
    /// A turn stands that needs something; a pipe cannot give it.
    Unfinished(Failure),
}

impl Session {
    /// Goes to a version if one is named. `settings`: what the first turn changes.
    pub(super) async fn open(
        (client, models, agents): (Client, Models, Agents),
        screen: Screen,
        version: Option<String>,
        settings: Settings,
    ) -> Result<Session, Failure> {
        let mut session = Session {
            client,
            models,
            agents,
            screen,
            version: None,
            model: String::new(),
            agent_id: String::new(),
            names: Names::new(),
            settings,
            place: None,
            pending: Pending::default(),
            ending: Ending::Whole,
            user: user(env::var("USER").ok()),
        };
        if let Some(given) = session.settings.agent_id.take() {
            session.settings.agent_id = Some(session.agent_named(&given).await?);
        }
        match version {
            Some(id) => session.go_to(&id).await?,
            None => session.hint("a new conversation; /help shows the commands")?,
        }
        Ok(session)
    }

    pub(super) fn is_interactive(&self) -> bool {
        self.screen.is_interactive()
    }

    pub(super) fn prompt(&self) -> String {
        let shown = |call: &FunctionCall| text::shortened(&text::whole_call(call), 50);
        match (self.pending.next(), &self.place, &self.ending) {
            (Some(_), _, _) if self.pending.is_over(Timestamp::now()) => "> ".into(),
            (Some(call), _, _) if needs_consent(call) => format!("run {}? [y/n] ", shown(call)),
            (Some(call), _, _) => format!("result of {}> ", shown(call)),
            (None, Some(place), _) if place.boundary == Boundary::BeforeEntry => "edit> ".into(),
            (None, None, Ending::AsksPerson(_)) => "your answer> ".into(),
            (None, _, _) => "> ".into(),
        }
    }

    /// What the next line begins with.
    pub(super) fn text_to_edit(&self) -> &str {
        self.place.as_ref().map_or("", |place| &place.text)
    }

    /// Ctrl-C at the prompt: forgets what was begun.
    pub(super) fn interrupt(&mut self) -> Result<(), Failure> {
        if self.place.take().is_some() || self.pending.has_answers() {
            self.pending.forget();
            return self.hint("left as it was");
        }
        self.hint("/quit or Ctrl-D leaves")
    }

    pub(super) fn show_failure(&mut self, failure: &Failure) -> Result<(), Failure> {
        if failure.reason() == Some(ErrorReason::TurnCancelled.as_str_name()) {
            return Ok(self.screen.note("cancelled; nothing was kept")?);
        }
        self.screen.error(failure)?;
        if failure.reason() == Some(ErrorReason::AgentNotFound.as_str_name()) {
            self.hint("/agent ID or /model NAME lets another one go on")?;
        }
        Ok(())
    }

    /// The pipe has ended. What was said to some of the calls that wait was not sent: that is no good end.
    pub(super) fn end(&self) -> Result<(), Failure> {
        if self.is_interactive() || !self.pending.has_answers() {
            return Ok(());
        }
        let text = format!("{} of the calls were not answered, so nothing was sent", self.pending.open_count());
        Err(Failure::new(text).note("Answer them too, or end with /continue or /skip."))
    }

    /// How to come back.
    pub(super) fn say_goodbye(&mut self) -> Result<(), Failure> {
        match (&self.version, self.is_interactive()) {
            (Some(id), true) => self.screen.note(&format!("go on with: causerie chat {id}"))?,
            (Some(id), false) => self.screen.note(&format!("conversation {id}"))?,
            (None, _) => {}
        }
        Ok(())
    }

    pub(super) async fn carry_out(&mut self, command: Command) -> Result<Flow, Failure> {
        match command {
            Command::Say(text) => return self.say(text).await,
            Command::Result(text) => return self.give_result(text).await,
            Command::Approve(which, arguments) => {
                self.pending.approve(&which, arguments.as_deref())?;
                return self.go_on_if_answered().await;
            }
            Command::Deny(which, reason) => {
                self.pending.deny(&which, &reason)?;
                return self.go_on_if_answered().await;
            }
            Command::Skip => return self.skip().await,
            Command::Assistant(text) => return self.answer_for_the_assistant(text).await,
            Command::Empty if !(self.can_go_on() && self.is_interactive()) => {}
            Command::Empty | Command::Continue => return self.go_on().await,
            Command::Restart(None) => return self.answer_anew().await,
            Command::Restart(Some(what)) => self.go_back(&what).await?,
            Command::History => self.show_history().await?,
            Command::Versions | Command::Branch(None) => self.show_versions().await?,
            Command::Branch(Some(what)) => self.branch(&what).await?,
            Command::Save(path) => self.save(&path).await?,
            Command::Model(name) => self.choose_model(name)?,
            Command::Agent(given) => self.choose_agent(given).await?,
            Command::Models => self.show_models().await?,
            Command::Cost => self.show_cost().await?,
            Command::Help => self.screen.print(HELP)?,
            Command::Quit => {}
        }
        Ok(Flow::Done)
    }

    fn existing(&self) -> Result<&str, Failure> {
        self.version.as_deref().ok_or_else(|| Failure::new("there is nothing yet: say something first"))
    }

    /// Something that only a person at a terminal wants to know.
    fn hint(&mut self, text: &str) -> Result<(), Failure> {
        if self.is_interactive() { Ok(self.screen.note(text)?) } else { Ok(()) }
    }
}

/// What is too long for the record is no name.
fn user(variable: Option<String>) -> String {
    variable.filter(|name| name.len() <= 256 && !name.chars().any(char::is_control)).unwrap_or_default()
}
