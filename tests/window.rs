//! Histories that are longer than a model's context window: refused with the numbers, or told without their oldest part.

use causerie::proto::{self, ErrorReason, Truncation, entry::Kind, omission, stream_events_request::Request};
use serde_json::{Value, json};

use crate::support::{
    calls::{self, history},
    completion::stream_of,
    events::{assert_whole, events_of, full, run},
    forwarding::{asked, start_on},
    provider::Reply,
    server::{Client, TestServer, append, text_of},
    status::{assert_promised, fields_of, told},
};

/// A model with a window of 1,000 tokens, and one of which nothing is known.
async fn server() -> (TestServer, Client) {
    let small = "[providers.mistral.models.small]\ncontext_tokens = 1000\n";
    let server = TestServer::configured(small, &[]).await;
    let client = server.client().await;
    (server, client)
}

fn text(text: &str) -> proto::Chunk {
    proto::Chunk { kind: Some(proto::chunk::Kind::Text(text.to_owned())) }
}

fn entry(kind: Kind) -> proto::Entry {
    proto::Entry { kind: Some(kind), ..Default::default() }
}

fn said(role: proto::Role, of: &str) -> proto::Entry {
    entry(Kind::MessageInput(proto::MessageInput { role: role.into(), content: vec![text(of)], prefix: false }))
}

fn user(of: &str) -> proto::Entry {
    said(proto::Role::User, of)
}

fn answered(of: &str) -> proto::Entry {
    said(proto::Role::Assistant, of)
}

fn called(id: &str) -> [proto::Entry; 2] {
    let (tool_call_id, name, arguments) = (id.to_owned(), "get_weather".to_owned(), "{}".to_owned());
    let call = proto::FunctionCall { tool_call_id: tool_call_id.clone(), name, arguments, ..Default::default() };
    let result = proto::FunctionResult { tool_call_id, content: vec![text("rain")], is_error: false, decision: None };
    [entry(Kind::FunctionCall(call)), entry(Kind::FunctionResult(result))]
}

/// About so many tokens.
fn long(word: &str, tokens: usize) -> String {
    format!("{word} ").repeat(tokens * 4 / (word.len() + 1))
}

fn of_history(model: &str, inputs: Vec<proto::Entry>, truncation: Truncation) -> proto::StartRequest {
    let forwarding = Some(proto::Forwarding { truncation: truncation.into(), ..Default::default() });
    proto::StartRequest { inputs, forwarding, input: String::new(), ..start_on(model, "") }
}

/// Who speaks in a request, and the first word of what they say.
fn outline(request: &Value) -> Vec<String> {
    let messages = request["messages"].as_array().expect("messages").iter();
    let line = |message: &Value| {
        let role = message["role"].as_str().expect("a role");
        let calls = message["tool_calls"].as_array().map_or(0, Vec::len);
        let word = message["content"].as_str().unwrap_or_default().split(' ').next().unwrap_or_default();
        if calls > 0 { format!("{role} calls") } else { format!("{role} {word}") }
    };
    messages.map(line).collect()
}

#[tokio::test]
async fn what_does_not_fit_is_refused_with_the_numbers() {
    let (server, mut client) = server().await;
    server.provider.on_every(Reply::text("fine"));
    for truncation in [Truncation::Unspecified, Truncation::Off] {
        let request = of_history("small", vec![user(&long("old", 5000))], truncation);
        let refused = calls::run(&mut client, "long", Request::Start(request)).await.expect_err("it does not fit");
        assert_promised(&refused, ErrorReason::ContextLengthExceeded, "long");
        assert_eq!(told(&refused, "context_tokens"), "1000");
        let asked: u64 = told(&refused, "requested_tokens").parse().expect("a number");
        assert!((4000..6000).contains(&asked), "{asked}");
        assert_eq!(told(&refused, "model"), "small");
    }
    assert_eq!(server.provider.connections(), 0, "nobody is asked");
    // What may fit is sent: our numbers are estimates.
    let near = of_history("small", vec![user(&long("near", 1100))], Truncation::Off);
    calls::run(&mut client, "near", Request::Start(near)).await.expect("who knows");
    let unknown = of_history("unknown", vec![user(&long("old", 5000))], Truncation::Off);
    calls::run(&mut client, "unknown", Request::Start(unknown)).await.expect("nothing is known of it");
    server.stop().await;
}

#[tokio::test]
async fn the_oldest_is_left_out_and_said_and_kept() {
    let (server, client) = server().await;
    server.provider.on_every(stream_of(&["fine"], "stop"));
    let inputs = vec![
        said(proto::Role::System, "rules"),
        user(&long("oldest", 450)),
        answered("yes"),
        user(&long("older", 450)),
        answered("no"),
        user("newest"),
    ];
    let mut request = of_history("small", inputs, Truncation::DropOldest);
    request.instructions = "instructions".to_owned();
    let seen = events_of(&client, run(request)).await;
    assert_whole(&seen.events);
    let turn = seen.turn();
    let told = outline(&server.provider.next_request().await.json);
    assert_eq!(told.first().map(String::as_str), Some("system instructions"), "{told:?}");
    assert_eq!(told[1], "system rules", "{told:?}");
    assert_eq!(told.last().map(String::as_str), Some("user newest"), "{told:?}");
    assert!(!told.contains(&"user oldest".to_owned()), "{told:?}");
    assert!(told[2].starts_with("user "), "it goes on with a question: {told:?}");

    let whole = history(&mut client.clone(), &turn.conversation_id).await.expect("a history");
    assert_eq!(whole.len(), 7, "the stored history stays whole");
    let [left_out] = turn.omissions.as_slice() else { panic!("{:?}", turn.omissions) };
    assert_eq!(left_out.kind(), omission::Kind::OldEntries);
    let count = usize::try_from(left_out.entry_count).expect("few");
    // Instructions are no entry.
    assert_eq!(count + told.len() - 1, 6, "what was not told is said: {told:?}");
    assert_eq!((&left_out.first_entry_id, &left_out.last_entry_id), (&whole[1].id, &whole[count].id));

    // The next turn forgets nothing by itself.
    let forwarding = Some(proto::Forwarding { truncation: Truncation::DropOldest.into(), ..Default::default() });
    let on = proto::AppendRequest { model: "unknown".to_owned(), forwarding, ..append(&turn.conversation_id, "more") };
    let on = events_of(&client, full(Request::Append(on))).await.turn().clone();
    assert_eq!(on.omissions, []);
    assert_eq!(outline(&server.provider.next_request().await.json).len(), 1 + 8);
    server.stop().await;
}

#[tokio::test]
async fn a_call_is_never_parted_from_its_result() {
    // However long the question before the call is, and so wherever the cut would fall by numbers alone. Each at a model of its
    // own: what one reports changes the next estimate.
    let sizes = || (20..=600).step_by(40);
    let models: String =
        sizes().map(|tokens| format!("[providers.mistral.models.small-{tokens}]\ncontext_tokens = 1000\n")).collect();
    let server = TestServer::configured(&models, &[]).await;
    let client = server.client().await;
    server.provider.on_every(stream_of(&["fine"], "stop"));
    let mut parted = [0, 0];
    for tokens in sizes() {
        let [call, result] = called("call00001");
        let [other, other_result] = called("call00002");
        let inputs = vec![
            user(&long("oldest", 400)),
            call,
            result,
            answered("rain"),
            user(&long("older", tokens)),
            other,
            other_result,
        ];
        let model = format!("small-{tokens}");
        let seen = events_of(&client, run(of_history(&model, inputs, Truncation::DropOldest))).await;
        let turn = seen.turn();
        let told = outline(&server.provider.next_request().await.json);
        let calls = told.iter().filter(|line| line.ends_with("calls")).count();
        let results = told.iter().filter(|line| line.starts_with("tool")).count();
        assert_eq!(calls, results, "{tokens}: {told:?}");
        assert!(told[0].starts_with("user "), "{tokens}: {told:?}");
        assert!(told.last().expect("some").starts_with("tool"), "{tokens}: the newest result is told: {told:?}");
        assert_eq!(told.len() == 7, turn.omissions.is_empty(), "{tokens}: {told:?}");
        parted[calls - 1] += 1;
    }
    assert!(parted.iter().all(|times| *times > 0), "with and without the older call: {parted:?}");
    server.stop().await;
}

#[tokio::test]
async fn what_must_stay_and_does_not_fit_is_refused() {
    let (server, mut client) = server().await;
    let inputs = vec![user("old"), answered("yes"), user(&long("newest", 5000))];
    let request = of_history("small", inputs, Truncation::DropOldest);
    let refused = calls::run(&mut client, "large", Request::Start(request)).await.expect_err("it never fits");
    assert_promised(&refused, ErrorReason::ContextLengthExceeded, "large");
    assert_eq!((told(&refused, "context_tokens").as_str(), fields_of(&refused).len()), ("1000", 0));
    assert_eq!(server.provider.connections(), 0);
    server.stop().await;
}

#[tokio::test]
async fn a_provider_s_own_refusal_is_answered_with_a_shorter_history() {
    let (server, client) = server().await;
    let no_numbers = "Prompt is too long for the context window";
    let numbers = "This model's maximum context length is 2000 tokens. However, you requested 4000 tokens.";
    let inputs: Vec<proto::Entry> = (0..10).flat_map(|at| [user(&long("old", 300 + at)), answered("yes")]).collect();
    let inputs = [inputs, vec![user("newest")]].concat();
    for (model, message) in [("untold", no_numbers), ("told", numbers)] {
        let too_long = || Reply::json(400, &json!({"object": "error", "message": message, "code": "3051"}));
        server.provider.on_model(model, [too_long(), too_long(), stream_of(&["fine"], "stop")]);
        let seen = events_of(&client, run(of_history(model, inputs.clone(), Truncation::DropOldest))).await;
        assert_whole(&seen.events);
        let turn = seen.turn();
        assert_eq!((text_of(turn).as_str(), asked(turn)), ("fine", vec![(model, 3)]));
        let sizes: Vec<usize> = server.provider.requests_for(model).iter().map(|request| request.raw.len()).collect();
        assert!(sizes[0] > sizes[1] && sizes[1] > sizes[2], "{sizes:?}");
        if message == numbers {
            assert!(sizes[1] < 2000 * 4, "no more than it takes: {sizes:?}");
        }
        let last = server.provider.requests_for(model).pop().expect("asked").json;
        let omitted = usize::try_from(turn.omissions[0].entry_count).expect("few");
        assert_eq!(outline(&last).len() + omitted, inputs.len());

        // Without leave the refusal is the answer.
        let off = format!("{model}-off");
        server.provider.on_model(&off, [too_long()]);
        let seen = events_of(&client, run(of_history(&off, inputs.clone(), Truncation::Off))).await;
        assert_eq!(told(seen.error(), "attempts"), "1");
        assert_eq!(crate::support::status::reason_of(seen.error()), "CONTEXT_LENGTH_EXCEEDED");
    }
    server.stop().await;
}
