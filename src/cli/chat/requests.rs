//! What is asked of the service for each thing that a user says.

use super::pending::Answers;
use crate::proto::{
    AppendRequest, Chunk, Entry, FunctionResult, MessageInput, PendingCalls, RestartRequest, Role, StartRequest, chunk,
    entry, restart_request::Boundary, stream_events_request::Request,
};

/// A place to go on from that is not the end of the version.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Place {
    pub(super) entry_id: String,
    pub(super) boundary: Boundary,
    /// What stands in the question that is edited, as text.
    pub(super) text: String,
    /// What stands in it beside text: it stays when the text is edited.
    pub(super) attachments: Vec<Chunk>,
}

/// What a turn is given.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) enum Said {
    /// Nothing: answer the history as it is.
    #[default]
    Nothing,
    /// A user's message.
    Text(String),
    /// Function results, or a message with more than text.
    Entries(Vec<Entry>),
}

/// Settings that hold from this turn on.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    pub(super) model: Option<String>,
    pub(super) agent_id: Option<String>,
    /// The version of the agent to keep to: its number or an alias.
    pub(super) agent_version: Option<String>,
    pub(super) instructions: Option<String>,
}

pub(super) fn start(said: Said, settings: &Settings) -> Request {
    let (input, inputs) = split(said);
    Request::Start(StartRequest {
        model: settings.model.clone().unwrap_or_default(),
        agent_id: settings.agent_id.clone().unwrap_or_default(),
        agent_version: settings.agent_version.clone().unwrap_or_default(),
        instructions: settings.instructions.clone().unwrap_or_default(),
        input,
        inputs,
        ..StartRequest::default()
    })
}

pub(super) fn append(conversation_id: &str, said: Said, settings: &Settings) -> Request {
    Request::Append(appended(conversation_id, said, settings))
}

/// What was said to the calls that wait, and what becomes of the others.
pub(super) fn answer(conversation_id: &str, answers: Answers, others: PendingCalls, settings: &Settings) -> Request {
    let Answers { results, confirmations } = answers;
    Request::Append(AppendRequest {
        tool_confirmations: confirmations,
        pending_calls: others.into(),
        ..appended(conversation_id, Said::Entries(results), settings)
    })
}

/// A question that comes back as it was is not put anew: its entry stays, and another answer is asked for.
pub(super) fn restart(conversation_id: &str, place: &Place, said: Said, settings: &Settings) -> Request {
    let same = place.boundary == Boundary::BeforeEntry && said == Said::Text(place.text.clone());
    let boundary = if same { Boundary::AfterEntry } else { place.boundary };
    let (input, inputs) = if same { split(Said::Nothing) } else { split(with_attachments(said, &place.attachments)) };
    Request::Restart(RestartRequest {
        conversation_id: conversation_id.to_owned(),
        from_entry_id: place.entry_id.clone(),
        boundary: boundary.into(),
        model: settings.model.clone().unwrap_or_default(),
        agent_id: settings.agent_id.clone().unwrap_or_default(),
        agent_version: settings.agent_version.clone().unwrap_or_default(),
        instructions: settings.instructions.clone(),
        input,
        inputs,
        ..RestartRequest::default()
    })
}

/// What a person says in the assistant's place.
pub(super) fn in_the_assistants_place(text: String) -> Entry {
    let content = vec![Chunk { kind: Some(chunk::Kind::Text(text)) }];
    let message = MessageInput { role: Role::Assistant.into(), content, prefix: false };
    Entry { kind: Some(entry::Kind::MessageInput(message)), ..Entry::default() }
}

/// The answer to a function call.
pub(super) fn result(tool_call_id: &str, text: String) -> Entry {
    let content = if text.is_empty() { Vec::new() } else { vec![Chunk { kind: Some(chunk::Kind::Text(text)) }] };
    let result = FunctionResult { tool_call_id: tool_call_id.to_owned(), content, ..FunctionResult::default() };
    Entry { kind: Some(entry::Kind::FunctionResult(result)), ..Entry::default() }
}

fn appended(conversation_id: &str, said: Said, settings: &Settings) -> AppendRequest {
    let (input, inputs) = split(said);
    AppendRequest {
        conversation_id: conversation_id.to_owned(),
        model: settings.model.clone().unwrap_or_default(),
        agent_id: settings.agent_id.clone().unwrap_or_default(),
        agent_version: settings.agent_version.clone().unwrap_or_default(),
        instructions: settings.instructions.clone(),
        input,
        inputs,
        ..AppendRequest::default()
    }
}

fn split(said: Said) -> (String, Vec<Entry>) {
    match said {
        Said::Nothing => (String::new(), Vec::new()),
        Said::Text(text) => (text, Vec::new()),
        Said::Entries(entries) => (String::new(), entries),
    }
}

fn with_attachments(said: Said, attachments: &[Chunk]) -> Said {
    match said {
        Said::Text(text) if !attachments.is_empty() => {
            let text = Chunk { kind: Some(chunk::Kind::Text(text)) };
            let content = [&[text], attachments].concat();
            let message = MessageInput { role: Role::User.into(), content, prefix: false };
            Said::Entries(vec![Entry { kind: Some(entry::Kind::MessageInput(message)), ..Entry::default() }])
        }
        said => said,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::ImageUrl;

    fn place(attachments: Vec<Chunk>) -> Place {
        Place { entry_id: "msg_1".into(), boundary: Boundary::BeforeEntry, text: "old".into(), attachments }
    }

    fn restarted(place: &Place, text: &str) -> RestartRequest {
        match restart("conv_1", place, Said::Text(text.into()), &Settings::default()) {
            Request::Restart(request) => request,
            other => panic!("not a restart: {other:?}"),
        }
    }

    #[test]
    fn an_edited_question_takes_the_place_of_the_old_one() {
        let request = restarted(&place(Vec::new()), "new");
        assert_eq!((request.boundary(), request.input.as_str()), (Boundary::BeforeEntry, "new"));
    }

    #[test]
    fn an_unchanged_question_is_only_answered_anew() {
        let request = restarted(&place(Vec::new()), "old");
        assert_eq!((request.boundary(), request.input.as_str()), (Boundary::AfterEntry, ""));
    }

    #[test]
    fn a_picture_stays_when_the_text_beside_it_is_edited() {
        let image = ImageUrl { url: "https://x/y.png".into(), detail: String::new() };
        let request = restarted(&place(vec![Chunk { kind: Some(chunk::Kind::ImageUrl(image)) }]), "new");
        let Some(entry::Kind::MessageInput(message)) = &request.inputs[0].kind else { panic!("{request:?}") };
        assert_eq!(message.content.len(), 2);
        assert!(request.input.is_empty());
    }
}
