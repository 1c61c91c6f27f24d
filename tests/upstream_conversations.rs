//! What is sent to Mistral's own conversations: golden bodies in `tests/golden/mistral_conversations/requests`. And the way of an
//! answer from there: to pieces, to entries, and back into requests to either endpoint.

use std::{collections::BTreeMap, fs};

use causerie::{
    domain::{
        Body, Chunk, Failure, FinishReason, Money, Reason, Settings,
        agent::AgentPin,
        entry::{OutputStatus, Role, Thinking},
        settings::{CompletionArgs, ReasoningEffort, ResponseFormat, ToolChoice},
        tool::{Connector, ConnectorAuthorization, ConnectorKind, Function, Tool},
    },
    upstream::{Catalogue, Form, HostedAgent, Options, Override, Piece, Price, Provider, Reached, Request, Secret},
};
use serde_json::{Value, json};

use crate::support::{
    golden::assert_golden,
    history::*,
    provider::{Reply, ScriptedProvider},
    upstream::{openai, options, provider, read, request, said, settings},
};

const NOWHERE: &str = "http://127.0.0.1:1";

fn connector(kind: ConnectorKind) -> Tool {
    Tool::Connector(Connector { kind, include: Vec::new(), exclude: Vec::new(), requires_confirmation: Vec::new() })
}

fn searching() -> Settings {
    Settings { tools: vec![connector(ConnectorKind::WebSearch)], ..settings() }
}

fn with_secrets(base_url: &str) -> Provider {
    let connector_secrets = BTreeMap::from([("wiki-token".to_owned(), Secret::new("token-of-the-wiki"))]);
    Provider::new(Options { connector_secrets, ..options(base_url) }).expect("the options are right")
}

fn body(settings: &Settings, bodies: Vec<Body>, continue_last: bool, hosted: Option<HostedAgent<'_>>) -> Value {
    let provider = with_secrets(NOWHERE);
    let transcript = provider.encode_for(Form::Conversations, &history(bodies)).expect("it can be told");
    let request = Request { continue_last, hosted, ..request(settings, &transcript) };
    serde_json::from_slice(&provider.body(request).expect("all of it is known")).expect("the body is JSON")
}

fn assert_body(name: &str, body: &Value) {
    let pretty = serde_json::to_string_pretty(body).expect("a value is JSON") + "\n";
    assert_golden(&format!("mistral_conversations/requests/{name}.json"), &pretty);
}

fn assert_inputs(name: &str, bodies: Vec<Body>, continue_last: bool) {
    assert_body(name, &body(&searching(), bodies, continue_last, None)["inputs"]);
}

fn object(value: Value) -> serde_json::Map<String, Value> {
    value.as_object().expect("an object").clone()
}

fn every_tool() -> Vec<Tool> {
    let owned = str::to_owned;
    let chosen = |kind, include: &[&str], exclude: &[&str]| {
        let list = |names: &[&str]| names.iter().map(|&name| owned(name)).collect();
        Tool::Connector(Connector {
            kind,
            include: list(include),
            exclude: list(exclude),
            requires_confirmation: Vec::new(),
        })
    };
    let authorization = ConnectorAuthorization { kind: owned("oauth2-token"), secret: owned("wiki-token") };
    vec![
        Tool::Function(Function { name: owned("now"), description: String::new(), parameters: None, strict: true }),
        connector(ConnectorKind::WebSearch),
        connector(ConnectorKind::WebSearchPremium),
        connector(ConnectorKind::CodeInterpreter),
        connector(ConnectorKind::ImageGeneration),
        chosen(ConnectorKind::DocumentLibrary { library_ids: vec![owned("lib-1"), owned("lib-2")] }, &["search"], &[]),
        chosen(ConnectorKind::Custom { connector_id: owned("calendar"), authorization: None }, &[], &["delete"]),
        connector(ConnectorKind::Custom { connector_id: owned("wiki"), authorization: Some(authorization) }),
    ]
}

#[test]
fn only_what_was_set_is_sent() {
    assert_body("plain", &body(&searching(), vec![user("Hello")], false, None));
}

#[test]
fn every_tool_and_argument_has_its_name_and_place() {
    let schema = object(json!({"type": "object", "properties": {"answer": {"type": "integer"}}}));
    let settings = Settings {
        instructions: "Be brief.".to_owned(),
        tools: every_tool(),
        completion_args: CompletionArgs {
            temperature: Some(0.7),
            top_p: Some(0.9),
            max_tokens: Some(100),
            stop: vec!["END".to_owned(), "FIN".to_owned()],
            random_seed: Some(7),
            presence_penalty: Some(-0.5),
            frequency_penalty: Some(1.0),
            response_format: Some(ResponseFormat::JsonSchema {
                name: "answer".to_owned(),
                description: "The answer".to_owned(),
                schema,
                strict: true,
                check: false,
            }),
            tool_choice: Some(ToolChoice::Any),
            prediction: Some("Most of it".to_owned()),
            reasoning_effort: Some(ReasoningEffort::High),
            guardrails: vec![object(json!({"block_on_error": true}))],
            ..CompletionArgs::default()
        },
        ..settings()
    };
    assert_body("every_argument", &body(&settings, vec![user("Hello")], false, None));
}

#[test]
fn a_budget_s_ceiling_replaces_max_tokens() {
    let (provider, settings) = (provider(NOWHERE), searching());
    let transcript = provider.encode_for(Form::Conversations, &history([user("Hello")])).expect("text");
    let request = Request { max_tokens: Some(7), ..request(&settings, &transcript) };
    let body: Value = serde_json::from_slice(&provider.body(request).expect("known")).expect("JSON");
    assert_eq!(body["completion_args"], json!({"max_tokens": 7}));
}

#[test]
fn an_agent_of_mistral_brings_everything_itself() {
    let settings = Settings { model: "ag_0198c0ffee".to_owned(), ..Settings::default() };
    for (name, version) in [
        ("agent", None),
        ("agent_at_version", Some(AgentPin::Version(3))),
        ("agent_at_alias", Some(AgentPin::Alias("stable".to_owned()))),
    ] {
        let hosted = Some(HostedAgent { version: version.as_ref() });
        assert_body(name, &body(&settings, vec![user("Hello")], false, hosted));
    }
}

#[test]
fn every_kind_of_entry_is_told_as_mistral_takes_it() {
    assert_inputs(
        "every_entry",
        vec![
            system("Be kind."),
            user("Weather in Paris and Rome?"),
            answer("I look it up."),
            call("call_0190c9d2a8b87c3e8f00112233445566", "get_weather", r#"{"city":"Paris"}"#),
            call("Xk2pQ9aBc", "made up: name", ""),
            result("Xk2pQ9aBc", vec![text("sunny")]),
            error_result("call_0190c9d2a8b87c3e8f00112233445566", vec![text("no such city: \"Paris\"")]),
            execution("web_search", r#"{"q":"causerie"}"#, "", vec![text("a talk")], OutputStatus::Completed),
            execution(
                "code_interpreter",
                r#"{"code":"1+1"}"#,
                r#"{"code_output":"2"}"#,
                vec![],
                OutputStatus::Completed,
            ),
            execution("web_search", "", "", vec![], OutputStatus::Incomplete),
            agent_handoff("librarian"),
            output(vec![
                thinking("ours", "mistral"),
                thinking("theirs", "elsewhere"),
                text("A talk"),
                Chunk::ToolReference {
                    tool: "web_search".to_owned(),
                    title: "Causerie".to_owned(),
                    url: "https://example.org/causerie".to_owned(),
                    favicon: "https://example.org/icon.png".to_owned(),
                    description: "A talk".to_owned(),
                },
                text("."),
            ]),
            system("It is night."),
            user("More"),
            cut(vec![text("Once ")]),
            answer("upon a time."),
            human_handoff("Please take over"),
            input(Role::Assistant, vec![text("A person here.")]),
            user("Thanks"),
        ],
        false,
    );
}

#[test]
fn every_chunk_in_every_place() {
    let owned = str::to_owned;
    let common = || {
        vec![
            text("text "),
            Chunk::DocumentUrl { url: owned("https://example.org/a.pdf"), name: owned("a.pdf") },
            thinking("ours", "mistral"),
            Chunk::ToolFile {
                tool: owned("image_generation"),
                file_id: owned("file-1"),
                file_name: owned("cat.png"),
                file_type: owned("png"),
            },
            Chunk::Reference { reference_ids: vec![owned("1")] },
        ]
    };
    let image = || Chunk::ImageUrl { url: owned("https://example.org/a.png"), detail: owned("low") };
    let uploaded = || [Chunk::InputAudio { data: owned("AAAA") }, Chunk::File { file_id: owned("file-2") }];
    let with = |more: Vec<Chunk>| [common(), more].concat();
    assert_inputs(
        "chunks",
        vec![
            input(Role::User, with(vec![image()])),
            input(Role::Assistant, with([vec![image()], uploaded().to_vec()].concat())),
            call("aaaaaaaaa", "f", "{}"),
            result("aaaaaaaaa", with(uploaded().to_vec())),
            execution("draw", "{}", "", with(vec![image()]), OutputStatus::Completed),
            user("Thanks"),
        ],
        false,
    );
}

#[test]
fn chunks_that_are_not_taken_there_and_matter_are_refused() {
    let provider = provider(NOWHERE);
    let audio = Chunk::InputAudio { data: "AAAA".to_owned() };
    let file = Chunk::File { file_id: "file-2".to_owned() };
    let image = Chunk::ImageUrl { url: "https://example.org/a.png".to_owned(), detail: String::new() };
    let bodies = vec![
        input(Role::User, vec![audio, text("a"), file]),
        call("aaaaaaaaa", "f", "{}"),
        result("aaaaaaaaa", vec![image]),
    ];
    let entries = history(bodies);
    assert!(provider.encode(&entries).is_ok(), "chat completions take them all");
    let failure = provider.encode_for(Form::Conversations, &entries).expect_err("three are refused");
    let places = failure.violations.iter().map(|violation| violation.field.split_once("].").expect("a place").1);
    assert_eq!(places.collect::<Vec<_>>(), ["content[0]", "content[2]", "content[0]"]);
    assert!(failure.violations[0].description.contains("leave out Mistral's own tools and agents"), "{failure}");
}

#[test]
fn the_model_is_asked_to_continue_the_last_message() {
    let history = vec![user("Tell"), cut(vec![text("Once ")]), cut(vec![text("upon")])];
    assert_inputs("continue_last", history, true);
    let thought =
        Thinking { content: vec![text("Hm")], signature: String::new(), closed: true, provider: "mistral".to_owned() };
    assert_inputs("continue_thinking", vec![user("Tell"), cut(vec![Chunk::Thinking(thought)])], true);
    // A text to continue must not stand alone: something asks for it, if no instructions do.
    assert_inputs("continue_alone", vec![prefix("Once")], true);
    let instructed = Settings { instructions: "Tell.".to_owned(), ..searching() };
    let inputs = &body(&instructed, vec![prefix("Once")], true, None)["inputs"];
    assert_eq!(inputs.as_array().map(Vec::len), Some(1));
}

fn refusal(provider: &Provider, settings: &Settings, hosted: Option<HostedAgent<'_>>) -> Failure {
    let transcript = provider.encode_for(Form::Conversations, &history([user("Hello")])).expect("text");
    provider.body(Request { hosted, ..request(settings, &transcript) }).expect_err("it can't be asked so")
}

#[test]
fn who_has_no_such_endpoint_is_not_asked() {
    let whole_address = provider("http://127.0.0.1:1/v1/chat/completions");
    for provider in [openai(NOWHERE), whole_address] {
        let rows = [(searching(), None, "tools"), (settings(), Some(HostedAgent { version: None }), "agent_id")];
        for (settings, hosted, field) in rows {
            let failure = refusal(&provider, &settings, hosted);
            assert_eq!(failure.reason, Reason::InvalidRequest);
            assert_eq!(failure.violations.len(), 1);
            assert_eq!(failure.violations[0].field, field);
        }
    }
    let failure = refusal(&provider("http://127.0.0.1:1/v1/chat/completions"), &searching(), None);
    assert!(failure.message.contains("providers.mistral.base_url"), "{failure}");
}

#[tokio::test]
async fn nothing_is_sent_that_can_t_be_told() {
    let server = ScriptedProvider::start().await;
    let provider = provider(&server.base_url());
    let transcript = provider.encode_for(Form::Conversations, &history([user("Hello")])).expect("text");
    let settings = Settings { tools: every_tool(), ..settings() };
    let fault = provider.complete(request(&settings, &transcript)).await.expect_err("the secret is not known");
    assert_eq!((fault.failure.reason, fault.reached), (Reason::InvalidRequest, Reached::NotSent));
    assert_eq!(fault.failure.violations[0].field, "tools[7].connector.authorization_secret");
    assert!(server.requests().is_empty());
}

#[test]
fn a_transcript_is_one_endpoint_s() {
    let provider = provider(NOWHERE);
    let entries = history([user("Hello")]);
    let settings = [settings(), searching()];
    for (form, wrong) in [(Form::Chat, &settings[1]), (Form::Conversations, &settings[0])] {
        let transcript = provider.encode_for(form, &entries).expect("text");
        assert!(transcript.is_for(&provider, form));
        let failure = provider.body(request(wrong, &transcript)).expect_err("the other endpoint's");
        assert_eq!(failure.reason, Reason::Internal);
    }
}

fn recorded(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/golden/mistral_conversations/responses/{name}", env!("CARGO_MANIFEST_DIR"));
    fs::read(path).expect("a golden file")
}

/// What comes of a recorded answer.
async fn answered(server: &ScriptedProvider, name: &str) -> Vec<Piece> {
    let stream = name.ends_with(".sse");
    server.reply(match stream {
        true => Reply::raw_sse([recorded(name)]),
        false => Reply::json(200, &serde_json::from_slice(&recorded(name)).expect("JSON")),
    });
    let (provider, settings) = (provider(&server.base_url()), searching());
    let transcript = provider.encode_for(Form::Conversations, &history([user("Hello")])).expect("text");
    let request = Request { stream, ..request(&settings, &transcript) };
    let (pieces, fault) = read(provider.complete(request).await.expect("an answer")).await;
    assert_eq!(fault, None, "{name}");
    let captured = server.next_request().await;
    assert_eq!((captured.method.as_str(), captured.path.as_str()), ("POST", "/v1/conversations"));
    assert_eq!(captured.header("accept"), Some(if stream { "text/event-stream" } else { "application/json" }));
    assert_eq!(Ok(captured.raw), provider.body(request));
    pieces
}

/// The entries that the pieces make.
fn entries_of(pieces: Vec<Piece>) -> Vec<Body> {
    let mut bodies = Vec::new();
    let mut content: Vec<Chunk> = Vec::new();
    let mut run = (String::new(), String::new());
    for piece in pieces {
        match piece {
            Piece::Text(text) => content.push(Chunk::Text(text)),
            Piece::Chunk(chunk) => content.push(chunk),
            Piece::Message => bodies.push(output(std::mem::take(&mut content))),
            Piece::ToolStarted { index: _, name, arguments } => run = (name, arguments),
            Piece::ToolArguments { index: _, arguments } => run.1.push_str(&arguments),
            Piece::ToolDone { index: _, info } => {
                bodies.push(execution(&run.0, &run.1, &info, Vec::new(), OutputStatus::Completed));
            }
            Piece::HandoffDone { index: _, next_id: _, next_name } => bodies.push(agent_handoff(&next_name)),
            Piece::HandoffStarted { .. } | Piece::Finish(_) | Piece::Usage(_) => {}
            Piece::Thinking(_) | Piece::Call { .. } => panic!("{piece:?} is in none of these answers"),
        }
    }
    bodies.push(output(content));
    bodies
}

#[tokio::test]
async fn what_an_answer_put_out_can_be_sent_again_to_both_endpoints() {
    let server = ScriptedProvider::start().await;
    let names = [
        "connector_with_citations.sse",
        "code_interpreter.sse",
        "image_generation.sse",
        "handoff.sse",
        "connector.json",
    ];
    let mut bodies = vec![user("Hello")];
    for name in names {
        bodies.extend(entries_of(answered(&server, name).await));
        bodies.push(user("And?"));
    }
    assert_inputs("round_trip", bodies.clone(), false);
    let (provider, settings) = (provider(NOWHERE), settings());
    let transcript = provider.encode(&history(bodies)).expect("it can be told");
    let body = provider.body(request(&settings, &transcript)).expect("nothing is set");
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    assert_body("round_trip_to_chat", &body["messages"]);
    for word in ["tool_reference", "tool_file", "tool.execution", "agent.handoff"] {
        assert!(!body.to_string().contains(&format!("\"{word}\"")), "{word}");
    }
}

#[tokio::test]
async fn calls_of_connectors_are_charged() {
    let server = ScriptedProvider::start().await;
    let pieces = answered(&server, "connector.json").await;
    assert_eq!(said(&pieces), "It is sunny  in Rome.Two.");
    let [Piece::Finish(FinishReason::Stop), Piece::Usage(usage)] = &pieces[pieces.len() - 2..] else {
        panic!("{pieces:?} does not end as it should")
    };
    let price = Price {
        input: "1".parse().expect("a number"),
        cached_input: "1".parse().expect("a number"),
        output: "2".parse().expect("a number"),
        connectors: BTreeMap::from([("web_search".to_owned(), "0.03".parse().expect("a number"))]),
        read_on: "2026-11".into(),
        provisional: false,
    };
    let said = Override { context_tokens: None, price: Some(price) };
    let catalogue = Catalogue::new(vec![("mistral".to_owned(), "m".to_owned(), said)]);
    let card = catalogue.card("mistral", "m");
    // 188 and 7,112 tokens read, 55 written, one search; the interpreter has no price.
    let cost = card.price.expect("it is configured").cost(usage);
    assert_eq!(cost, Money::new(0, 37_410_000_000));
}

#[tokio::test]
async fn a_wanted_confirmation_is_no_reason_to_ask_again() {
    use causerie::upstream::FaultClass;
    let server = ScriptedProvider::start().await;
    server.reply(Reply::raw_sse([recorded("pending_confirmation.sse")]));
    let (provider, settings) = (provider(&server.base_url()), searching());
    let transcript = provider.encode_for(Form::Conversations, &history([user("Hello")])).expect("text");
    let completion = provider.complete(request(&settings, &transcript)).await.expect("a head");
    let (_, fault) = read(completion).await;
    let fault = fault.expect("nobody can confirm");
    assert_eq!((fault.class, fault.reached), (FaultClass::Permanent, Reached::Answered));
    assert_eq!(fault.failure.retry_after_ms, None);
}

#[tokio::test]
async fn what_a_connector_is_authorized_with_is_not_told_where_mistral_quotes_it() {
    let server = ScriptedProvider::start().await;
    let quoting = json!({"object": "Error", "message": "token-of-the-wiki is no token", "code": 3001});
    server.reply(Reply::json(422, &quoting));
    let (provider, settings) = (with_secrets(&server.base_url()), Settings { tools: every_tool(), ..settings() });
    let transcript = provider.encode_for(Form::Conversations, &history([user("Hello")])).expect("text");
    let fault = provider.complete(request(&settings, &transcript)).await.expect_err("it is refused");
    assert_eq!(fault.failure.message, "mistral refused the request: [hidden] is no token");
}
