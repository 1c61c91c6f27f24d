//! What is sent to providers of OpenAI's dialect, and how a history goes on with a provider that it did not begin with: golden
//! bodies in `tests/golden/openai/requests` and `tests/golden/mistral/requests`.

use causerie::{
    domain::{
        Body, Chunk, Failure, Omission, OmissionKind, Reason, Settings,
        entry::{OutputStatus, Role, Thinking},
        settings::{CompletionArgs, ReasoningEffort, ResponseFormat, ToolChoice},
        tool::{Function, Tool},
    },
    upstream::{Form, MaxTokensField, Options, Provider, Request},
};
use serde_json::{Value, json};

use crate::support::{
    golden::assert_golden,
    history::*,
    upstream::{openai, openai_options, provider, request, settings},
};

const NOWHERE: &str = "http://127.0.0.1:1";

fn body_of(provider: &Provider, settings: &Settings, bodies: Vec<Body>, continue_last: bool) -> Result<Value, Failure> {
    let transcript = provider.encode(&history(bodies))?;
    let body = provider.body(Request { continue_last, ..request(settings, &transcript) })?;
    Ok(serde_json::from_slice(&body).expect("the body is JSON"))
}

fn body(settings: &Settings, bodies: Vec<Body>, continue_last: bool) -> Value {
    body_of(&openai(NOWHERE), settings, bodies, continue_last).expect("all of it can be told")
}

fn assert_body(name: &str, body: &Value) {
    let pretty = serde_json::to_string_pretty(body).expect("a value is JSON") + "\n";
    assert_golden(&format!("{name}.json"), &pretty);
}

fn assert_messages(name: &str, bodies: Vec<Body>) {
    assert_body(&format!("openai/requests/{name}"), &body(&settings(), bodies, false)["messages"]);
}

fn object(value: Value) -> serde_json::Map<String, Value> {
    value.as_object().expect("an object").clone()
}

fn function(name: &str, parameters: Option<Value>) -> Tool {
    let (name, description) =
        (name.to_owned(), parameters.as_ref().map(|_| "What it does".to_owned()).unwrap_or_default());
    Tool::Function(Function { name, description, strict: parameters.is_some(), parameters: parameters.map(object) })
}

fn with(completion_args: CompletionArgs) -> Settings {
    Settings { completion_args, ..settings() }
}

#[test]
fn only_what_was_set_is_sent_and_the_usage_asked_for() {
    assert_body("openai/requests/plain", &body(&settings(), vec![user("Hello")], false));
    let provider = openai(NOWHERE);
    let transcript = provider.encode(&history([user("Hello")])).expect("text");
    let (settings, stream) = (settings(), false);
    let whole = provider.body(Request { stream, ..request(&settings, &transcript) }).expect("no arguments");
    let whole: Value = serde_json::from_slice(&whole).expect("the body is JSON");
    assert_eq!((&whole["stream"], &whole["stream_options"]), (&Value::Null, &Value::Null), "only streams have options");
}

#[test]
fn every_argument_has_its_openai_name() {
    let schema = object(json!({"type": "object", "properties": {"answer": {"type": "integer"}}}));
    let args = CompletionArgs {
        temperature: Some(0.7),
        top_p: Some(0.9),
        max_tokens: Some(100),
        stop: vec!["END".to_owned()],
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
        tool_choice: Some(ToolChoice::Function("get_weather".to_owned())),
        parallel_tool_calls: Some(false),
        prediction: Some("Most of it".to_owned()),
        reasoning_effort: Some(ReasoningEffort::High),
        safe_prompt: Some(false),
        prompt_cache_key: "tree-1".to_owned(),
        service_tier: "standard_only".to_owned(),
        ..CompletionArgs::default()
    };
    let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    let tools = vec![function("get_weather", Some(parameters)), function("now", None)];
    let settings = Settings { instructions: "Be brief.".to_owned(), tools, ..with(args) };
    let expected = body(&settings, vec![user("Hello")], false);
    assert_body("openai/requests/every_argument", &expected);

    // Servers that don't know OpenAI's newer name are sent the older one, and nothing else differs.
    let older = Options { max_tokens_field: Some(MaxTokensField::MaxTokens), ..openai_options(NOWHERE) };
    let older = Provider::new(older).expect("the options are right");
    let mut sent = body_of(&older, &settings, vec![user("Hello")], false).expect("all of it can be told");
    let fields = sent.as_object_mut().expect("an object");
    let moved = fields.remove("max_tokens").expect("it is bounded");
    fields.insert("max_completion_tokens".to_owned(), moved);
    assert_eq!(sent, expected);
}

#[test]
fn tool_choices_and_parallel_calls_are_sent_only_with_tools() {
    let choices = [
        (ToolChoice::Auto, json!("auto")),
        (ToolChoice::None, json!("none")),
        (ToolChoice::Any, json!("required")),
        (ToolChoice::Required, json!("required")),
        (ToolChoice::Function("now".to_owned()), json!({"type": "function", "function": {"name": "now"}})),
    ];
    for (choice, expected) in choices {
        let without = with(CompletionArgs {
            tool_choice: Some(choice),
            parallel_tool_calls: Some(true),
            ..CompletionArgs::default()
        });
        let sent = body(&without, vec![user("Hello")], false);
        assert_eq!((&sent["tool_choice"], &sent["parallel_tool_calls"]), (&Value::Null, &Value::Null));
        let sent = body(&Settings { tools: vec![function("now", None)], ..without }, vec![user("Hello")], false);
        assert_eq!((&sent["tool_choice"], &sent["parallel_tool_calls"]), (&expected, &json!(true)));
    }
}

#[test]
fn arguments_that_the_dialect_lacks_are_refused_by_name() {
    let settings =
        with(CompletionArgs { top_k: Some(3), prompt_mode: "reasoning".to_owned(), ..CompletionArgs::default() });
    let failure = body_of(&openai(NOWHERE), &settings, vec![user("Hello")], false).expect_err("two are unknown");
    assert_eq!(failure.reason, Reason::InvalidRequest);
    let fields: Vec<&str> = failure.violations.iter().map(|violation| &*violation.field).collect();
    assert_eq!(fields, ["completion_args.prompt_mode", "completion_args.top_k"]);
    assert!(body_of(&provider(NOWHERE), &settings, vec![user("Hello")], false).is_ok(), "Mistral has both");
}

#[test]
fn a_request_s_ceiling_and_model_stand_over_the_settings() {
    let settings = with(CompletionArgs { max_tokens: Some(100), ..CompletionArgs::default() });
    for (provider, field) in [(openai(NOWHERE), "max_completion_tokens"), (provider(NOWHERE), "max_tokens")] {
        let transcript = provider.encode(&history([user("Hello")])).expect("text");
        let asked = Request { model: "other", max_tokens: Some(7), ..request(&settings, &transcript) };
        let sent: Value = serde_json::from_slice(&provider.body(asked).expect("known")).expect("the body is JSON");
        assert_eq!((&sent["model"], &sent[field]), (&json!("other"), &json!(7)));
    }
}

#[test]
fn text_and_calls_are_one_message() {
    assert_messages(
        "calls",
        vec![
            user("Weather in Paris and Rome?"),
            answer("I look it up."),
            call("call_0190c9d2a8b87c3e8f00112233445566", "get_weather", r#"{"city":"Paris"}"#),
            call("Xk2pQ9aBc", "get_weather", r#"{"city":"Rome"}"#),
            result("Xk2pQ9aBc", vec![text("sunny")]),
            error_result("call_0190c9d2a8b87c3e8f00112233445566", vec![text("no such city: \"Paris\"")]),
            call("toolu_01", "made up: name", ""),
            result("toolu_01", vec![]),
            answer("Sunny in Rome."),
            execution(
                "web_search",
                r#"{"q":"x"}"#,
                "",
                vec![image("https://example.org/a.png")],
                OutputStatus::Completed,
            ),
            agent_handoff("librarian"),
            user("Thanks"),
        ],
    );
}

#[test]
fn system_messages_stand_where_they_stood() {
    assert_messages(
        "system",
        vec![system("Be kind."), user("Hello"), answer("Hi"), system("It is night."), user("So?"), system("Be brief.")],
    );
}

fn image(url: &str) -> Chunk {
    Chunk::ImageUrl { url: url.to_owned(), detail: String::new() }
}

fn document() -> Chunk {
    Chunk::DocumentUrl { url: "https://example.org/a.pdf".to_owned(), name: "a.pdf".to_owned() }
}

fn audio(data: &str) -> Chunk {
    Chunk::InputAudio { data: data.to_owned() }
}

#[test]
fn chunks_have_their_openai_form() {
    let common = || {
        let file = |name: &str| name.to_owned();
        vec![
            text("text "),
            Chunk::ToolFile {
                tool: file("t"),
                file_id: file("f-1"),
                file_name: file("cat.png"),
                file_type: file("png"),
            },
            Chunk::ToolReference {
                tool: file("web_search"),
                title: file("Rome"),
                url: file("https://example.org/rome"),
                favicon: String::new(),
                description: String::new(),
            },
        ]
    };
    let asked = [
        common(),
        vec![
            Chunk::ImageUrl { url: "https://example.org/a.png".to_owned(), detail: "low".to_owned() },
            image("data:image/png;base64,AAAA"),
            audio("UklGRiQAAABXQVZF"),
            audio("data:audio/mpeg;base64,SUQzBAAA"),
            Chunk::File { file_id: "file-2".to_owned() },
        ],
    ];
    let said = [common(), vec![image("https://example.org/a.png"), document(), audio("AAAA")]].concat();
    assert_messages(
        "chunks",
        vec![
            input(Role::System, said.clone()),
            input(Role::User, asked.concat()),
            input(Role::Assistant, said),
            call("call_1", "f", "{}"),
            error_result("call_1", common()),
        ],
    );
}

#[test]
fn what_the_target_can_t_be_told_is_refused_with_its_entry() {
    let bodies = vec![
        input(Role::User, vec![text("Read and listen"), document(), audio("https://example.org/a.wav")]),
        call("call_1", "f", "{}"),
        result("call_1", vec![image("https://example.org/a.png")]),
        user("So?"),
    ];
    let entries = history(bodies);
    let failure = openai(NOWHERE).encode(&entries).expect_err("three chunks are not taken");
    assert_eq!(failure.reason, Reason::InvalidRequest);
    let fields: Vec<&str> = failure.violations.iter().map(|violation| &*violation.field).collect();
    let (asked, found) = (entries[0].id, entries[2].id);
    let expected = [
        format!("entries[{asked}].content[1]"),
        format!("entries[{asked}].content[2]"),
        format!("entries[{found}].content[0]"),
    ];
    assert_eq!(fields, expected);
    for (violation, kind) in failure.violations.iter().zip(["document_url", "input_audio", "image_url"]) {
        assert!(violation.description.contains(kind), "{violation:?}");
        assert!(violation.description.contains("restart from before this entry"), "{violation:?}");
    }
    assert!(provider(NOWHERE).encode(&entries).is_ok(), "Mistral takes them all");
}

#[test]
fn a_text_to_continue_is_the_last_message() {
    let asked = |bodies| body(&settings(), bodies, true)["messages"].clone();
    let continued =
        asked(vec![user("Tell"), cut(vec![thinking("Hm", "openai"), text("Once ")]), cut(vec![text("upon")])]);
    assert_eq!(continued, json!([{"role": "user", "content": "Tell"}, {"role": "assistant", "content": "Once upon"}]));
    assert_eq!(asked(vec![prefix("Once")]), json!([{"role": "assistant", "content": "Once"}]));
    // Thinking is not sent back, so there is nothing to continue.
    assert_eq!(
        asked(vec![user("Tell"), cut(vec![thinking("Hm", "openai")])]),
        json!([{"role": "user", "content": "Tell"}])
    );
}

/// A conversation that a provider began: with thinking of its own, a citation and its own ids.
fn begun_on(provider: &str, ids: [&str; 2]) -> Vec<Body> {
    let content = vec![text("Two cities")];
    let thought = Thinking { content, signature: "c2ln".to_owned(), closed: true, provider: provider.to_owned() };
    vec![
        system("Be kind."),
        user("Weather in Paris and Rome?"),
        output(vec![Chunk::Thinking(thought), text("I look.")]),
        call(ids[0], "get_weather", r#"{"city":"Paris"}"#),
        call(ids[1], "get_weather", r#"{"city":"Rome"}"#),
        result(ids[0], vec![text("rain")]),
        result(ids[1], vec![text("sun")]),
        output(vec![text("Go to Rome"), Chunk::Reference { reference_ids: vec!["1".to_owned()] }, text(".")]),
        output(vec![thinking("more", provider), thinking("and more", provider)]),
        user("Why?"),
    ]
}

#[test]
fn a_history_goes_on_with_the_other_provider() {
    let rows = [
        (openai(NOWHERE), "openai/requests/begun_on_mistral", begun_on("mistral", ["Xk2pQ9aBc", "6TI17yZkV"])),
        (provider(NOWHERE), "mistral/requests/begun_on_openai", begun_on("openai", ["call_Ab12", "call_Cd34"])),
    ];
    for (target, name, bodies) in rows {
        let entries = history(bodies.clone());
        let (first, last) = (entries[2].id, entries[8].id);
        let expected = [
            Omission { kind: OmissionKind::Thinking, entry_count: 2, first_entry_id: first, last_entry_id: last },
            Omission::of(OmissionKind::References, entries[7].id),
        ];
        let transcript = target.encode(&entries).expect("it can be told");
        assert_eq!(transcript.omissions(), expected, "{name}");
        assert_body(name, &body_of(&target, &settings(), bodies, false).expect("it can be told")["messages"]);
    }
}

#[test]
fn own_thinking_is_never_an_omission() {
    for (target, own) in [(openai(NOWHERE), "openai"), (provider(NOWHERE), "mistral")] {
        let entries = history([user("a"), output(vec![thinking("hm", own), text("b")]), user("c")]);
        assert_eq!(target.encode(&entries).expect("text").omissions(), [], "{own}");
    }
}

#[test]
fn a_transcript_is_one_provider_s() {
    let (ours, theirs) = (provider(NOWHERE), openai(NOWHERE));
    let transcript = ours.encode(&history([user("Hello")])).expect("text");
    assert!(transcript.is_for(&ours, Form::Chat) && !transcript.is_for(&theirs, Form::Chat));
    let settings = settings();
    for failed in
        [theirs.extend(&transcript, &[]).map(|_| ()), theirs.body(request(&settings, &transcript)).map(|_| ())]
    {
        assert_eq!(failed.expect_err("another provider's").reason, Reason::Internal);
    }
}
