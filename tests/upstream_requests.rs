//! What is sent to Mistral for a history and its settings: golden bodies in `tests/golden/mistral/requests`.

use causerie::{
    domain::{
        Body, Chunk, Settings,
        entry::{OutputStatus, Role, Thinking},
        settings::{CompletionArgs, ReasoningEffort, ResponseFormat, ToolChoice},
        tool::{Function, Tool},
    },
    upstream::Request,
};
use serde_json::{Value, json};

use crate::support::{
    golden::assert_golden,
    history::*,
    upstream::{provider, request, settings},
};

fn body(settings: &Settings, bodies: Vec<Body>, continue_last: bool) -> Value {
    let provider = provider("http://127.0.0.1:1");
    let transcript = provider.encode(&history(bodies)).expect("it can be told");
    let request = Request { continue_last, ..request(settings, &transcript) };
    serde_json::from_slice(&provider.body(request).expect("the arguments are known")).expect("the body is JSON")
}

fn assert_body(name: &str, body: &Value) {
    let pretty = serde_json::to_string_pretty(body).expect("a value is JSON") + "\n";
    assert_golden(&format!("mistral/requests/{name}.json"), &pretty);
}

fn assert_messages(name: &str, bodies: Vec<Body>) {
    let body = body(&settings(), bodies, false);
    assert_body(name, &body["messages"]);
}

fn object(value: Value) -> serde_json::Map<String, Value> {
    value.as_object().expect("an object").clone()
}

fn weather() -> Tool {
    let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    Tool::Function(Function {
        name: "get_weather".to_owned(),
        description: "The weather of a city".to_owned(),
        parameters: Some(object(parameters)),
        strict: true,
    })
}

#[test]
fn only_what_was_set_is_sent() {
    assert_body("plain", &body(&settings(), vec![user("Hello")], false));
}

#[test]
fn every_argument_has_its_mistral_name() {
    let schema = object(json!({"type": "object", "properties": {"answer": {"type": "integer"}}}));
    let settings = Settings {
        instructions: "Be brief.".to_owned(),
        tools: vec![
            weather(),
            Tool::Function(Function {
                name: "now".to_owned(),
                description: String::new(),
                parameters: None,
                strict: false,
            }),
        ],
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
            tool_choice: Some(ToolChoice::Function("get_weather".to_owned())),
            parallel_tool_calls: Some(false),
            prediction: Some("Most of it".to_owned()),
            reasoning_effort: Some(ReasoningEffort::High),
            safe_prompt: Some(true),
            prompt_cache_key: "tree-1".to_owned(),
            prompt_mode: "reasoning".to_owned(),
            service_tier: "standard_only".to_owned(),
            min_tokens: Some(1),
            repetition_penalty: Some(1.1),
            top_k: Some(40),
            guardrails: vec![object(json!({"block_on_error": true}))],
        },
        ..settings()
    };
    assert_body("every_argument", &body(&settings, vec![user("Hello")], false));
}

#[test]
fn a_tool_choice_is_sent_only_with_tools() {
    let choices = [
        (ToolChoice::Auto, json!("auto")),
        (ToolChoice::None, json!("none")),
        (ToolChoice::Any, json!("any")),
        (ToolChoice::Required, json!("required")),
    ];
    for (choice, expected) in choices {
        let args = CompletionArgs { tool_choice: Some(choice), ..CompletionArgs::default() };
        let without = Settings { completion_args: args, ..settings() };
        assert_eq!(body(&without, vec![user("Hello")], false)["tool_choice"], Value::Null);
        let with = Settings { tools: vec![weather()], ..without };
        assert_eq!(body(&with, vec![user("Hello")], false)["tool_choice"], expected);
    }
}

#[test]
fn the_other_response_formats() {
    for (format, expected) in
        [(ResponseFormat::Text, json!({"type": "text"})), (ResponseFormat::JsonObject, json!({"type": "json_object"}))]
    {
        let args = CompletionArgs { response_format: Some(format), ..CompletionArgs::default() };
        let settings = Settings { completion_args: args, ..settings() };
        assert_eq!(body(&settings, vec![user("Hello")], false)["response_format"], expected);
    }
}

#[test]
fn a_turn_with_calls_is_one_assistant_message_and_its_results() {
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
            user("Thanks"),
        ],
    );
}

#[test]
fn a_message_after_the_calls_of_its_answer_joins_them() {
    assert_messages(
        "message_after_calls",
        vec![
            user("a"),
            call("aaaaaaaaa", "f", "{}"),
            execution("web_search", r#"{"q":"x"}"#, "", vec![text("found")], OutputStatus::Completed),
            answer("I wait."),
            call("bbbbbbbbb", "g", "{}"),
            result("aaaaaaaaa", vec![text("1")]),
            result("bbbbbbbbb", vec![text("2")]),
        ],
    );
}

#[test]
fn what_was_run_for_the_model_is_a_call_and_its_result() {
    assert_messages(
        "run_by_the_service",
        vec![
            user("Look it up"),
            answer("I search."),
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
            answer("A talk."),
            human_handoff("Please take over"),
            input(Role::Assistant, vec![text("A person here.")]),
            user("Thanks"),
        ],
    );
}

#[test]
fn what_was_cut_off_and_its_continuation_are_one_message() {
    let half_thought = |provider: &str| {
        let content = vec![text("Hm")];
        Chunk::Thinking(Thinking { content, signature: String::new(), closed: true, provider: provider.to_owned() })
    };
    assert_messages(
        "continuations",
        vec![
            user("Tell"),
            cut(vec![half_thought("mistral"), text("Once ")]),
            cut(vec![text("upon ")]),
            answer("a time."),
            user("More"),
            prefix("And then"),
            answer(" it ended."),
            user("More"),
            cut(vec![half_thought("elsewhere")]),
            user("Hello?"),
            cut(vec![text("Yes")]),
            user("Go on"),
        ],
    );
}

#[test]
fn the_model_is_asked_to_continue_the_last_message() {
    let history = vec![user("Tell"), cut(vec![text("Once ")]), cut(vec![text("upon")])];
    assert_body("continue_last", &body(&settings(), history, true));
    // A thought that was cut off is opened again.
    let history = vec![user("Tell"), cut(vec![thinking("Hm", "mistral")])];
    assert_body("continue_thinking", &body(&settings(), history, true)["messages"]);
    // Nothing of it can be replayed, so nothing is continued.
    let history = vec![user("Tell"), cut(vec![thinking("Hm", "elsewhere")])];
    assert_body("nothing_to_continue", &body(&settings(), history, true)["messages"]);
    // Mistral refuses a prefix that stands alone.
    assert_body("continue_alone", &body(&settings(), vec![prefix("Once")], true)["messages"]);
}

#[test]
fn system_messages_are_told_where_mistral_takes_them() {
    assert_messages(
        "system",
        vec![
            system("Be kind."),
            system("Be brief."),
            user("Hello"),
            system("It is night."),
            answer("Good night"),
            system("It is day."),
            system("It is noon."),
        ],
    );
}

#[test]
fn every_chunk_in_every_place() {
    let owned = str::to_owned;
    let chunks = || {
        vec![
            text("text "),
            Chunk::ImageUrl { url: owned("https://example.org/a.png"), detail: owned("low") },
            Chunk::ImageUrl { url: owned("data:image/png;base64,AAAA"), detail: String::new() },
            Chunk::DocumentUrl { url: owned("https://example.org/a.pdf"), name: owned("a.pdf") },
            Chunk::DocumentUrl { url: owned("data:application/pdf;base64,AAAA"), name: String::new() },
            thinking("ours", "mistral"),
            thinking("theirs", "elsewhere"),
            thinking("anybody's", ""),
            Chunk::ToolFile {
                tool: owned("image_generation"),
                file_id: owned("file-1"),
                file_name: owned("cat.png"),
                file_type: owned("png"),
            },
            Chunk::ToolReference {
                tool: owned("web_search"),
                title: owned("Rome"),
                url: owned("https://example.org/rome"),
                favicon: String::new(),
                description: String::new(),
            },
            Chunk::InputAudio { data: owned("AAAA") },
            Chunk::File { file_id: owned("file-2") },
            Chunk::Reference { reference_ids: vec![owned("1")] },
        ]
    };
    assert_messages(
        "chunks",
        vec![
            input(Role::System, chunks()),
            input(Role::User, chunks()),
            input(Role::Assistant, chunks()),
            call("aaaaaaaaa", "f", "{}"),
            result("aaaaaaaaa", chunks()),
            call("bbbbbbbbb", "f", "{}"),
            error_result("bbbbbbbbb", chunks()),
        ],
    );
}

#[test]
fn thinking_is_replayed_as_it_was() {
    let content = vec![
        text("I cite "),
        Chunk::Reference { reference_ids: vec!["1".to_owned(), "web-2".to_owned()] },
        Chunk::ToolReference {
            tool: "web_search".to_owned(),
            title: "Rome".to_owned(),
            url: "https://example.org/rome".to_owned(),
            favicon: String::new(),
            description: "A city".to_owned(),
        },
    ];
    let thought = Thinking { content, signature: "c2ln".to_owned(), closed: true, provider: "mistral".to_owned() };
    assert_messages("thinking", vec![user("a"), output(vec![Chunk::Thinking(thought), text("b")]), user("c")]);
}
