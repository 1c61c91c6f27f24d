//! Where the user is in the tree, and what each command does there.

mod places;
mod turns;

use super::{
    command::{Command, HELP},
    requests::{Place, Said, Settings},
    screen::Screen,
    text,
};
use crate::{
    cli::{
        Failure,
        connect::{Client, Models},
    },
    proto::{Entry, ErrorReason, FunctionCall, restart_request::Boundary},
};

/// A chat: a place in a tree, and what is pending there.
pub(super) struct Session {
    client: Client,
    models: Models,
    screen: Screen,
    /// The version that the next turn runs on; none before the first turn.
    version: Option<String>,
    /// The model of that version.
    model: String,
    /// What the next turn changes.
    settings: Settings,
    /// Where the next message goes, if not to the end.
    place: Option<Place>,
    /// The calls that wait for results, and the results that were given so far: one for each of the first calls.
    calls: Vec<FunctionCall>,
    results: Vec<Entry>,
    /// The last answer was cut off.
    unfinished: bool,
}

/// What came of a command.
pub(super) enum Flow {
    /// All is well.
    Done,
    /// A turn stands that needs something; a pipe cannot give it.
    Unfinished(Failure),
}

impl Session {
    /// Goes to a version if one is named.
    pub(super) async fn open(
        (client, models): (Client, Models),
        screen: Screen,
        version: Option<String>,
        model: Option<String>,
        instructions: Option<String>,
    ) -> Result<Session, Failure> {
        let mut session = Session {
            client,
            models,
            screen,
            version: None,
            model: String::new(),
            settings: Settings { model, instructions },
            place: None,
            calls: Vec::new(),
            results: Vec::new(),
            unfinished: false,
        };
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
        match (self.calls.get(self.results.len()), &self.place) {
            (Some(call), _) => format!("result of {}> ", text::shortened(&text::call(call), 50)),
            (None, Some(place)) if place.boundary == Boundary::BeforeEntry => "edit> ".into(),
            (None, _) => "> ".into(),
        }
    }

    /// What the next line begins with.
    pub(super) fn text_to_edit(&self) -> &str {
        self.place.as_ref().map_or("", |place| &place.text)
    }

    /// Ctrl-C at the prompt: forgets what was begun.
    pub(super) fn interrupt(&mut self) -> Result<(), Failure> {
        if self.place.take().is_some() || !self.results.is_empty() {
            self.results.clear();
            return self.hint("left as it was");
        }
        self.hint("/quit or Ctrl-D leaves")
    }

    pub(super) fn show_failure(&mut self, failure: &Failure) -> Result<(), Failure> {
        if failure.reason() == Some(ErrorReason::TurnCancelled.as_str_name()) {
            return Ok(self.screen.note("cancelled; nothing was kept")?);
        }
        Ok(self.screen.error(failure)?)
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
            Command::Say(text) if self.calls.is_empty() => return self.take_turn(Said::Text(text)).await,
            Command::Say(text) | Command::Result(text) => return self.give_result(text).await,
            Command::Empty if !(self.unfinished && self.is_interactive()) => {}
            Command::Empty | Command::Continue => return self.take_turn(Said::Nothing).await,
            Command::Restart(None) => return self.answer_anew().await,
            Command::Restart(Some(what)) => self.go_back(&what).await?,
            Command::History => self.show_history().await?,
            Command::Versions | Command::Branch(None) => self.show_versions().await?,
            Command::Branch(Some(what)) => self.branch(&what).await?,
            Command::Save(path) => self.save(&path).await?,
            Command::Model(name) => self.choose_model(name)?,
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
