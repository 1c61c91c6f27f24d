//! Whatever entries a history holds, what is sent keeps Mistral's rules of order, and encoding it step by step gives the same in
//! both dialects and for both endpoints.

use std::sync::Arc;

use causerie::{
    domain::{
        Body, Chunk, Entry, Settings,
        entry::{OutputStatus, Role},
        tool::{Connector, ConnectorKind, Tool},
    },
    offline::{MODELS, Offline, Options},
    upstream::{Form, Provider, Request, Transcript},
};
use proptest::{
    collection::vec,
    prelude::*,
    strategy::ValueTree,
    test_runner::{TestCaseError, TestRunner},
};
use serde_json::Value;

use crate::support::{
    history::*,
    upstream::{openai, provider, read, request, settings},
};

/// A part of a history that obeys the domain's rules wherever it stands.
#[derive(Debug, Clone)]
enum Part {
    User(Vec<Chunk>),
    System,
    Assistant(Vec<Chunk>),
    Answer(Vec<Chunk>),
    Cut(Vec<Chunk>),
    Run(OutputStatus),
    ToAgent,
    ToHuman,
    Calls(Calls),
}

/// An answer with calls, and their results.
#[derive(Debug, Clone)]
struct Calls {
    before: Option<Vec<Chunk>>,
    count: usize,
    run_between: bool,
    after: Option<Vec<Chunk>>,
    reversed: bool,
    is_error: bool,
    result: Vec<Chunk>,
    own_ids: bool,
}

/// How a history ends that a model can answer.
#[derive(Debug, Clone)]
enum End {
    User,
    System,
    Calls(Calls),
    Cut,
    Prefix,
}

fn chunks() -> impl Strategy<Value = Vec<Chunk>> {
    let chunk = prop_oneof![
        4 => "[a-zé\"\\\\ ]{0,12}".prop_map(Chunk::Text),
        1 => Just(thinking("hm", "mistral")),
        1 => Just(thinking("hm", "elsewhere")),
        1 => Just(Chunk::ImageUrl { url: "https://example.org/a.png".to_owned(), detail: String::new() }),
        1 => Just(Chunk::Reference { reference_ids: vec!["1".to_owned()] }),
        1 => Just(Chunk::File { file_id: "0190c9d2-a8b8-7c3e-8f00-112233445566".to_owned() }),
    ];
    vec(chunk, 0..4)
}

fn calls() -> impl Strategy<Value = Calls> {
    let texts = (proptest::option::of(chunks()), proptest::option::of(chunks()), chunks());
    (texts, 1..4usize, any::<[bool; 4]>()).prop_map(|((before, after, result), count, flags)| {
        let [run_between, reversed, is_error, own_ids] = flags;
        Calls { before, count, run_between, after, reversed, is_error, result, own_ids }
    })
}

fn part() -> impl Strategy<Value = Part> {
    let status = prop_oneof![Just(OutputStatus::Completed), Just(OutputStatus::Incomplete)];
    prop_oneof![
        4 => chunks().prop_map(Part::User),
        1 => Just(Part::System),
        1 => chunks().prop_map(Part::Assistant),
        4 => chunks().prop_map(Part::Answer),
        2 => chunks().prop_map(Part::Cut),
        1 => status.prop_map(Part::Run),
        1 => Just(Part::ToAgent),
        1 => Just(Part::ToHuman),
        3 => calls().prop_map(Part::Calls),
    ]
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![Just(End::User), Just(End::System), calls().prop_map(End::Calls), Just(End::Cut), Just(End::Prefix)]
}

/// A history, whether its last message is to be continued, and where to split it.
type Case = (Vec<Arc<Entry>>, bool, Vec<usize>);

fn case() -> impl Strategy<Value = Case> {
    (vec(part(), 0..10), end(), vec(any::<proptest::sample::Index>(), 0..4)).prop_map(|(parts, end, cuts)| {
        let continue_last = matches!(end, End::Cut | End::Prefix);
        let mut bodies = Vec::new();
        parts.into_iter().for_each(|part| push(&mut bodies, part));
        match end {
            End::User => bodies.push(user("And now?")),
            End::System => bodies.extend([user("Hello"), system("Answer.")]),
            End::Calls(calls) => push(&mut bodies, Part::Calls(calls)),
            End::Cut => bodies.extend([user("And now?"), cut(vec![text("Well")])]),
            End::Prefix => bodies.push(prefix("Well")),
        }
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.index(bodies.len() + 1)).collect();
        cuts.sort_unstable();
        (history(bodies), continue_last, cuts)
    })
}

fn push(bodies: &mut Vec<Body>, part: Part) {
    match part {
        Part::User(content) => bodies.push(input(Role::User, content)),
        Part::System => bodies.push(system("Be kind.")),
        Part::Assistant(content) => bodies.push(input(Role::Assistant, content)),
        Part::Answer(content) => bodies.push(output(content)),
        Part::Cut(content) => bodies.push(cut(content)),
        Part::Run(status) => bodies.push(execution("web_search", "{}", "", vec![], status)),
        Part::ToAgent => bodies.push(agent_handoff("next")),
        Part::ToHuman => bodies.push(human_handoff("help")),
        Part::Calls(calls) => push_calls(bodies, calls),
    }
}

fn push_calls(bodies: &mut Vec<Body>, calls: Calls) {
    let first = bodies.len();
    let id = |n: usize| if calls.own_ids { format!("call_{:032x}", first + n) } else { format!("c{:08}", first + n) };
    bodies.extend(calls.before.map(output));
    bodies.push(call(&id(0), "get weather", "{}"));
    if calls.run_between {
        bodies.push(execution("web_search", "{}", "", vec![text("found")], OutputStatus::Completed));
    }
    bodies.extend((1..calls.count).map(|n| call(&id(n), "f", "")));
    bodies.extend(calls.after.map(output));
    let mut results: Vec<Body> = (0..calls.count)
        .map(|n| if calls.is_error { error_result } else { result }(&id(n), calls.result.clone()))
        .collect();
    if calls.reversed {
        results.reverse();
    }
    bodies.extend(results);
}

/// The rules of `validator.py` in mistral-common: order, calls and their ids, contents.
fn check(messages: &[Value]) -> Result<(), TestCaseError> {
    let roles: Vec<&str> = messages.iter().map(|message| message["role"].as_str().unwrap_or_default()).collect();
    for pair in roles.windows(2) {
        let allowed: &[&str] = match pair[0] {
            "system" => &["user", "assistant", "system"],
            "user" => &["assistant", "system", "user"],
            "assistant" => &["assistant", "user", "tool"],
            "tool" => &["assistant", "tool", "user"],
            other => return Err(TestCaseError::fail(format!("role {other}"))),
        };
        prop_assert!(allowed.contains(&pair[1]), "{} after {}", pair[1], pair[0]);
    }
    let mut seen = Vec::new();
    let mut open = Vec::new();
    for (message, role) in messages.iter().zip(&roles) {
        if *role != "tool" {
            prop_assert!(open.is_empty(), "{role} while {open:?} wait");
        }
        if *role == "assistant" {
            let calls = message["tool_calls"].as_array().map_or(&[][..], Vec::as_slice);
            let content = &message["content"];
            let says_something = content.as_str().is_some_and(|text| !text.is_empty())
                || content.as_array().is_some_and(|chunks| !chunks.is_empty());
            prop_assert!(says_something || !calls.is_empty(), "an empty assistant message");
            for call in calls {
                let id = call["id"].as_str().unwrap_or_default();
                prop_assert!(id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "id {id}");
                prop_assert!(!seen.contains(&id), "id {id} twice");
                prop_assert!(call["function"]["arguments"].as_str().is_some_and(|text| !text.is_empty()));
                seen.push(id);
                open.push(id);
            }
        }
        if *role == "tool" {
            let id = message["tool_call_id"].as_str().unwrap_or_default();
            let waiting = open.iter().position(|waiting| *waiting == id);
            prop_assert!(waiting.is_some(), "no call {id} waits");
            open.remove(waiting.unwrap_or_default());
        }
    }
    prop_assert!(open.is_empty(), "{open:?} have no result");
    let last = messages.last().ok_or_else(|| TestCaseError::fail("no messages"))?;
    let continued = last["prefix"] == Value::Bool(true);
    prop_assert!(matches!(last["role"].as_str(), Some("user" | "tool")) || continued, "the last is {}", last["role"]);
    let prefixes = messages.iter().filter(|message| !message["prefix"].is_null()).count();
    prop_assert_eq!(prefixes, usize::from(continued), "only the last message has a prefix");
    Ok(())
}

/// The rules of Mistral's conversations: calls and their results, and what the last entry may be.
fn check_inputs(inputs: &[Value], continue_last: bool) -> Result<(), TestCaseError> {
    let mut seen = Vec::new();
    let mut open = Vec::new();
    for input in inputs {
        let id = input["tool_call_id"].as_str().unwrap_or_default();
        match input["type"].as_str() {
            Some("function.call") => {
                prop_assert!(id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "id {id}");
                prop_assert!(!seen.contains(&id), "id {id} twice");
                prop_assert!(input["arguments"].as_str().is_some_and(|text| !text.is_empty()));
                seen.push(id);
                open.push(id);
            }
            Some("function.result") => {
                let waiting = open.iter().position(|waiting| *waiting == id);
                prop_assert!(waiting.is_some(), "no call {id} waits");
                prop_assert!(input["result"].is_string(), "{} is no text", input["result"]);
                open.remove(waiting.unwrap_or_default());
            }
            Some("message.output" | "message.input") => prop_assert!(open.is_empty(), "a message while {open:?} wait"),
            kind => return Err(TestCaseError::fail(format!("type {kind:?}"))),
        }
    }
    prop_assert!(open.is_empty(), "{open:?} have no result");
    let last = inputs.last().ok_or_else(|| TestCaseError::fail("no entries"))?;
    let fits = match last["type"].as_str() {
        Some("message.input") => last["role"] == "user" || last["prefix"] == true,
        Some("function.result") => true,
        _ => false,
    };
    prop_assert!(fits, "the last is {last}");
    let prefixes = inputs.iter().filter(|input| !input["prefix"].is_null()).count();
    prop_assert_eq!(prefixes, usize::from(continue_last), "only the last entry has a prefix");
    Ok(())
}

proptest! {
    #[test]
    fn every_history_is_sent_in_an_order_that_mistral_takes((entries, continue_last, cuts) in case()) {
        let provider = provider("http://127.0.0.1:1");
        let settings = settings();
        let whole = provider.encode(&entries).expect("Mistral takes every history");
        let sent = body(&provider, &settings, &whole, continue_last);
        let sent: Value = serde_json::from_slice(&sent).expect("the body is JSON");
        check(sent["messages"].as_array().map_or(&[], Vec::as_slice))?;
        grows_to(&provider, &settings, &entries, cuts)?;
    }

    #[test]
    fn every_history_grows_step_by_step_for_openai_too((entries, _, cuts) in case()) {
        grows_to(&openai("http://127.0.0.1:1"), &settings(), &entries, cuts)?;
    }

    #[test]
    fn every_history_is_sent_to_conversations_in_an_order_that_mistral_takes((entries, continue_last, cuts) in case()) {
        let provider = provider("http://127.0.0.1:1");
        let settings = searching();
        // Some chunks are refused there: that is the same however the history grows.
        if let Ok(whole) = provider.encode_for(Form::Conversations, &entries) {
            let sent = body(&provider, &settings, &whole, continue_last);
            let sent: Value = serde_json::from_slice(&sent).expect("the body is JSON");
            check_inputs(sent["inputs"].as_array().map_or(&[], Vec::as_slice), continue_last)?;
        }
        grows_to(&provider, &settings, &entries, cuts)?;
    }
}

/// Settings with a tool that Mistral has only in its conversations.
fn searching() -> Settings {
    let (kind, none) = (ConnectorKind::WebSearch, Vec::new);
    let connector = Connector { kind, include: none(), exclude: none(), requires_confirmation: none() };
    Settings { tools: vec![Tool::Connector(connector)], ..settings() }
}

fn body(provider: &Provider, settings: &Settings, transcript: &Transcript, continue_last: bool) -> Vec<u8> {
    provider.body(Request { continue_last, ..request(settings, transcript) }).expect("the arguments are known")
}

/// Encoding a history step by step is the same as encoding it at once, refusals and omissions included.
fn grows_to(
    provider: &Provider,
    settings: &Settings,
    entries: &[Arc<Entry>],
    cuts: Vec<usize>,
) -> Result<(), TestCaseError> {
    let form = Form::of(&settings.tools, false);
    let whole = provider.encode_for(form, entries);
    let mut grown = provider.encode_for(form, &[]);
    let mut begin = 0;
    for cut in cuts.into_iter().chain([entries.len()]) {
        grown = grown.and_then(|grown| provider.extend(&grown, &entries[begin..cut]));
        if let Ok(grown) = &grown {
            // A history that some step ends at can be sent too.
            let sent = body(provider, settings, grown, true);
            serde_json::from_slice::<Value>(&sent).expect("the body is JSON");
        }
        begin = cut;
    }
    let (grown, whole) = match (grown, whole) {
        (Ok(grown), Ok(whole)) => (grown, whole),
        // The first step that is refused tells only what it holds itself.
        (Err(first), Err(all)) => {
            prop_assert!(all.violations.starts_with(&first.violations), "{first} is not the beginning of {all}");
            return Ok(());
        }
        (grown, whole) => return Err(TestCaseError::fail(format!("{grown:?} is not {whole:?}"))),
    };
    for continue_last in [false, true] {
        prop_assert_eq!(
            String::from_utf8(body(provider, settings, &grown, continue_last)),
            String::from_utf8(body(provider, settings, &whole, continue_last))
        );
    }
    prop_assert_eq!(grown.size_bytes(), whole.size_bytes());
    prop_assert_eq!(grown.omissions(), whole.omissions());
    Ok(())
}

/// The offline stand-in checks requests with code of its own.
#[tokio::test]
async fn the_stand_in_s_conversations_take_every_history_too() {
    let offline = Offline::start_with(Options { pace: std::time::Duration::ZERO }).await.expect("loopback");
    let provider = provider(&offline.base_url());
    let settings = Settings { model: MODELS[0].to_owned(), ..searching() };
    let mut runner = TestRunner::deterministic();
    let mut taken = 0;
    while taken < 50 {
        let (entries, continue_last, _) = case().new_tree(&mut runner).expect("a case").current();
        // Some chunks are refused before anything is sent.
        let Ok(transcript) = provider.encode_for(Form::Conversations, &entries) else { continue };
        let request = Request { continue_last, ..request(&settings, &transcript) };
        let body = String::from_utf8(provider.body(request).expect("the arguments are known")).expect("JSON is text");
        let completion =
            provider.complete(request).await.unwrap_or_else(|fault| panic!("{} for {body}", fault.failure));
        let (pieces, failure) = read(completion).await;
        assert_eq!(failure, None, "{body}");
        assert!(!pieces.is_empty());
        taken += 1;
    }
    offline.stop().await.expect("it ends in order");
}

/// The offline stand-in checks requests with code of its own.
#[tokio::test]
async fn the_stand_in_takes_every_history_too() {
    let offline = Offline::start_with(Options { pace: std::time::Duration::ZERO }).await.expect("loopback");
    let provider = provider(&offline.base_url());
    let settings = Settings { model: MODELS[0].to_owned(), ..settings() };
    let mut runner = TestRunner::deterministic();
    for _ in 0..100 {
        let (entries, continue_last, _) = case().new_tree(&mut runner).expect("a case").current();
        let transcript = provider.encode(&entries).expect("Mistral takes every history");
        let request = Request { continue_last, ..request(&settings, &transcript) };
        let body = String::from_utf8(provider.body(request).expect("the arguments are known")).expect("JSON is text");
        let completion =
            provider.complete(request).await.unwrap_or_else(|fault| panic!("{} for {body}", fault.failure));
        let (pieces, failure) = read(completion).await;
        assert_eq!(failure, None, "{body}");
        assert!(!pieces.is_empty());
    }
    offline.stop().await.expect("it ends in order");
}
