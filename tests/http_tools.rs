//! HTTP tools: what is sent, what comes back, and that secrets stay where they belong.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use causerie::{
    domain::{
        Chunk,
        tool::{HttpRequestSpec, ToolOutcome},
    },
    tools::http::{HttpOptions, HttpSecret, HttpTools, Secret, SecretSource},
};
use serde_json::{Value, json};

use crate::support::{
    provider::{Captured, Reply, ScriptedProvider},
    tools::{Names, error, get, options, request, spec, text, with_header, with_parameters},
};

const SECRET: &str = "S3cret/of+tests";

fn local() -> HttpOptions {
    options(&["127.0.0.1"], Names::new(&[("other.example", &["127.0.0.1"])]))
}

fn tools(options: HttpOptions) -> HttpTools {
    HttpTools::new(options).expect("the options are right")
}

/// With the secret `key` for this server.
fn with_secret(server: &ScriptedProvider, value: SecretSource) -> HttpOptions {
    let host = server.base_url().replace("http://", "");
    let secret = HttpSecret { value, hosts: vec![host] };
    HttpOptions { secrets: [("key".to_owned(), secret)].into_iter().collect(), ..local() }
}

fn value() -> SecretSource {
    SecretSource::Value(Secret::new(SECRET))
}

async fn server() -> ScriptedProvider {
    let server = ScriptedProvider::start().await;
    server.on_every(Reply::json(200, &json!({"ok": true})));
    server
}

async fn call(tools: &HttpTools, spec: HttpRequestSpec, arguments: &Value) -> ToolOutcome {
    tools.call(&request(Some(spec)), &arguments.to_string()).await
}

/// What the server gets of a call.
async fn sent(server: &ScriptedProvider, spec: HttpRequestSpec, arguments: Value) -> Captured {
    let outcome = call(&tools(local()), spec, &arguments).await;
    assert_eq!(text(&outcome), "{\"ok\":true}");
    assert_eq!(outcome.info, "{\"http_status\":200}");
    server.requests().pop().expect("it was asked")
}

#[tokio::test]
async fn arguments_go_where_the_template_has_them() {
    let server = server().await;
    let parameters = json!({"type": "object", "properties": {
        "id": {"type": "string"}, "q": {}, "trace": {"type": "string"}, "more": {}, "count": {"type": "integer"},
    }});
    let tool = |method: &str| {
        let spec = spec(method, &format!("{}/items/{{id}}?q={{q}}&fixed=1", server.base_url()));
        with_parameters(with_header(spec, "X-Trace", "t-{trace}"), &parameters)
    };
    let arguments = json!({"id": "a/b c", "q": "x&y", "trace": "7", "more": {"deep": [1, "é"]}, "count": 3});
    for method in ["GET", "DELETE"] {
        let request = sent(&server, tool(method), arguments.clone()).await;
        assert_eq!(request.method, method);
        let query = "q=x%26y&fixed=1&count=3&more=%7B%22deep%22%3A%5B1%2C%22%C3%A9%22%5D%7D";
        assert_eq!(request.path, format!("/items/a%2Fb%20c?{query}"));
        assert_eq!((request.header("x-trace"), request.raw.len()), (Some("t-7"), 0));
    }
    for method in ["POST", "PUT", "PATCH"] {
        let request = sent(&server, tool(method), arguments.clone()).await;
        assert_eq!((request.method.as_str(), request.path.as_str()), (method, "/items/a%2Fb%20c?q=x%26y&fixed=1"));
        assert_eq!(request.json, json!({"more": {"deep": [1, "é"]}, "count": 3}));
        assert_eq!(request.header("content-type"), Some("application/json"));
    }
    // What is not given is left out; nobody is asked for compression.
    let request = sent(&server, tool("GET"), json!({"id": "1"})).await;
    assert_eq!((request.path.as_str(), request.header("x-trace")), ("/items/1?fixed=1", None));
    assert_eq!(request.header("accept-encoding"), Some("identity"));
}

#[tokio::test]
async fn no_arguments_may_be_an_empty_text() {
    let server = server().await;
    for arguments in ["", " ", "{}"] {
        let outcome = tools(local()).call(&request(Some(spec("GET", &server.base_url()))), arguments).await;
        assert_eq!(text(&outcome), "{\"ok\":true}");
    }
}

#[tokio::test]
async fn arguments_that_do_not_fit_are_told_and_nothing_is_sent() {
    let server = server().await;
    let parameters = json!({
        "type": "object", "required": ["city"], "additionalProperties": false,
        "properties": {"city": {"type": "string", "pattern": "^[a-z.]*$"}, "days": {"type": "integer"}, "note": {"type": "string"}},
    });
    let tool = spec("GET", &format!("{}/{{city}}", server.base_url()));
    let tool = with_header(with_parameters(tool, &parameters), "x-note", "{note}");
    for (arguments, told) in [
        ("{\"city\": 1}", "the arguments do not fit: /city: "),
        ("{\"city\": \"PRIVATE\"}", "/city: "),
        ("{\"city\": \"a\", \"days\": \"PRIVATE\"}", "/days: "),
        ("{}", "\"city\" is a required property"),
        ("{\"city\": \"a\", \"x\": 1}", "x"),
        ("[]", "the arguments do not fit"),
        ("{\"city\": ", "the arguments must be JSON"),
        ("{\"city\": \"\"}", "the argument city is missing or empty"),
        ("{\"city\": \"..\"}", "must not be . or .."),
        ("{\"city\": \"a\", \"note\": \"PRIVATE\\r\\nx-admin: 1\"}", "x-note must have no line breaks"),
    ] {
        let outcome = tools(local()).call(&request(Some(tool.clone())), arguments).await;
        assert!(error(&outcome).contains(told) && !error(&outcome).contains("PRIVATE"), "{arguments}: {outcome:?}");
    }
    let none = spec("GET", &server.base_url());
    assert_eq!(error(&call(&tools(local()), none, &json!({"a": 1})).await), "takes no arguments");
    let long = json!({"city": "a".repeat(200_000)});
    assert!(error(&call(&tools(local()), tool, &long).await).contains("at most 131072 bytes"));
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn what_cannot_work_is_told_before_any_call() {
    let server = server().await;
    let host = server.base_url();
    let parameters = json!({"type": "object", "properties": {"a": {"type": "string"}}});
    let get = |path: &str| with_parameters(spec("GET", &format!("{host}{path}")), &parameters);
    let tools = tools(with_secret(&server, value()));
    let secret =
        |url: &str, name: &str| with_header(spec("GET", url), "Authorization", &format!("Bearer ${{secret:{name}}}"));
    assert_eq!(tools.check(&request(Some(secret(&host, "key")))), Ok(()));
    assert_eq!(tools.check(&request(Some(get("/{a}")))), Ok(()));
    for (spec, told) in [
        (get("/{b}"), "has a place for {b}, which its parameters do not have"),
        (with_header(get("/"), "x", "{b}"), "has a place for {b}"),
        (spec("GET", &format!("{host}/{{a}}")), "has a place for {a}"),
        (get("/{a"), "has a brace"),
        (get("/?k=${secret:key}"), "a secret, which may stand in a header only"),
        (secret(&host, "none"), "tools.secrets.none"),
        (secret("http://other.example/", "key"), "the secret key, which is not for this host"),
        (secret("http://127.0.0.1:1/", "key"), "which is not for this host"),
        (with_header(get("/"), "Host", "other"), "frames the request"),
        (with_header(get("/"), "x", "a\nb"), "control characters"),
        (spec("TRACE", &host), "a method that is none of"),
        (spec("GET", "http://{a}/"), "must have a fixed host"),
        (with_parameters(spec("GET", &host), &json!({"$ref": "http://127.0.0.1/"})), "a $ref that is not followed"),
        (with_parameters(spec("GET", &host), &json!({"allOf": [{"$ref": "#"}]})), "refers to itself"),
    ] {
        let fault = tools.check(&request(Some(spec.clone()))).expect_err(told);
        assert!(fault.contains(told), "{fault}");
        // A call that was not checked is no way around it.
        assert_eq!(error(&call(&tools, spec, &json!({})).await), format!("the tool {fault}"));
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn the_configuration_declares_tools() {
    let server = server().await;
    let parameters = json!({"type": "object", "properties": {"a": {"type": "integer"}}});
    let declared = HttpRequestSpec {
        description: "What it does.".into(),
        ..with_parameters(spec("GET", &server.base_url()), &parameters)
    };
    let closed = tools(HttpOptions {
        tools: [("tool".to_owned(), declared)].into_iter().collect(),
        callers_may_declare: false,
        ..local()
    });
    let own = request(None);
    assert_eq!(closed.check(&own), Ok(()));
    let told = closed.spec(&own).expect("it is declared");
    assert_eq!((told.name.as_str(), told.description.as_str()), ("tool", "What it does."));
    assert_eq!(Value::Object(told.parameters), parameters);
    assert_eq!(text(&closed.call(&own, "{\"a\": 1}").await), "{\"ok\":true}");
    assert_eq!(server.requests()[0].path, "/?a=1");

    let callers = request(Some(spec("GET", &server.base_url())));
    assert!(closed.check(&callers).expect_err("it is a caller's").contains("tools.http.callers_may_declare"));
    assert!(error(&closed.call(&callers, "").await).contains("tools.http.callers_may_declare"));
    assert_eq!(server.requests().len(), 1);

    let open = tools(local());
    assert!(open.check(&own).expect_err("nothing is declared").contains("tools.http.requests"));
    assert_eq!(open.spec(&own), None);
    assert_eq!(error(&open.call(&own, "").await), "the tool is not configured");
    let empty = open.spec(&callers).expect("it says all itself").parameters;
    assert_eq!(Value::Object(empty), json!({"type": "object", "properties": {}}));

    let wrong = [("bad".to_owned(), spec("GET", "http://{a}/"))].into_iter().collect();
    let fault = HttpTools::new(HttpOptions { tools: wrong, ..local() }).expect_err("it can't work");
    assert!(fault.to_string().starts_with("tools.http.requests.bad has a url"), "{fault}");
}

#[tokio::test]
async fn a_secret_reaches_its_host_and_is_hidden_in_all_that_comes_back() {
    let server = server().await;
    let tools = tools(with_secret(&server, value()));
    let tool = with_header(spec("GET", &server.base_url()), "Authorization", "Bearer ${secret:key}");
    let basic = STANDARD.encode(format!("user:{SECRET}"));
    let echo = format!("a {SECRET} b S3cret%2Fof%2Btests c {basic} d");
    for status in [200, 403] {
        server.on_every(Reply::plain(status, "text/plain", &echo));
        let outcome = call(&tools, tool.clone(), &json!({})).await;
        let shown = format!("{outcome:?}");
        assert!(shown.contains("a *** b *** c dXNlcjp***M= d"), "{shown}");
        assert!(!shown.contains("S3cret"), "{shown}");
        let request = server.requests().pop().expect("it was asked");
        assert_eq!(request.header("authorization"), Some(format!("Bearer {SECRET}").as_str()));
    }
    // What one call left there, another does not bring back.
    server.on_every(Reply::plain(200, "text/plain", SECRET));
    assert_eq!(text(&get(&tools, &server.base_url()).await), "***");
    assert!(!format!("{tools:?}").contains("S3cret"));
}

#[tokio::test]
async fn a_cut_answer_ends_in_no_part_of_a_secret() {
    let server = server().await;
    let tools = tools(with_secret(&server, value()));
    server.on_every(Reply::plain(200, "text/plain", &format!("12345 {SECRET} and more")));
    for limit in 1..12 {
        let tool = HttpRequestSpec { max_response_bytes: limit, ..spec("GET", &server.base_url()) };
        let outcome = call(&tools, tool, &json!({})).await;
        let (shown, note) = text(&outcome).split_once('\n').expect("it is cut");
        assert_eq!(note, format!("[cut off here: the answer is longer than {limit} bytes]"));
        assert!("12345 ***".starts_with(shown), "{shown}");
    }
}

#[tokio::test]
async fn a_secret_file_is_read_for_each_call() {
    let server = server().await;
    let file = tempfile::NamedTempFile::new().expect("a file");
    let tools = tools(with_secret(&server, SecretSource::File(file.path().to_owned())));
    let tool = with_header(spec("GET", &server.base_url()), "x-key", "${secret:key}");
    let outcome = call(&tools, tool.clone(), &json!({})).await;
    assert_eq!(error(&outcome), "the secret key is not set, or is not 8 to 4096 visible ASCII characters");
    for secret in ["first-secret", "second-secret"] {
        std::fs::write(file.path(), format!("{secret}\n")).expect("written");
        call(&tools, tool.clone(), &json!({})).await;
        assert_eq!(server.requests().pop().expect("it was asked").header("x-key"), Some(secret));
    }
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn another_origin_gets_no_secret_from_a_redirect() {
    let (first, other) = (server().await, server().await);
    let tools = tools(with_secret(&first, value()));
    let tool = |method: &str| {
        let tool = with_header(spec(method, &first.base_url()), "x-key", "${secret:key}");
        let tool = with_header(with_header(tool, "Authorization", "Bearer literal"), "Cookie", "literal");
        with_header(tool, "Accept", "text/plain")
    };
    first.on_every(Reply::plain(307, "text/plain", "").header("location", &format!("{}/there", other.base_url())));
    assert_eq!(text(&call(&tools, tool("POST"), &json!({})).await), "{\"ok\":true}");
    let request = other.requests().pop().expect("it was asked");
    assert_eq!((request.method.as_str(), request.path.as_str(), &request.json), ("POST", "/there", &json!({})));
    assert_eq!(request.header("accept"), Some("text/plain"));
    for name in ["x-key", "authorization", "cookie"] {
        assert_eq!(request.header(name), None, "{name}");
        assert!(first.requests()[0].header(name).is_some(), "{name}");
    }
    // Within one origin they go along.
    first.reply(Reply::plain(302, "text/plain", "").header("location", "/here"));
    first.reply(Reply::plain(200, "text/plain", "here"));
    assert_eq!(text(&call(&tools, tool("GET"), &json!({})).await), "here");
    let request = first.requests().pop().expect("it was asked");
    assert_eq!((request.path.as_str(), request.header("x-key")), ("/here", Some(SECRET)));
}

#[tokio::test]
async fn redirects_change_methods_as_browsers_do() {
    let server = server().await;
    for (status, method, becomes) in [
        (301, "POST", "GET"),
        (302, "POST", "GET"),
        (303, "POST", "GET"),
        (303, "PUT", "GET"),
        (307, "POST", "POST"),
        (308, "PATCH", "PATCH"),
        (302, "DELETE", "DELETE"),
        (301, "GET", "GET"),
    ] {
        server.reply(Reply::plain(status, "text/plain", "").header("location", "/next"));
        let request = sent(&server, spec(method, &server.base_url()), json!({})).await;
        assert_eq!((request.method.as_str(), request.path.as_str()), (becomes, "/next"), "{status} {method}");
        let has_body = ["POST", "PATCH"].contains(&becomes);
        assert_eq!((request.raw == b"{}", request.header("content-type").is_some()), (has_body, has_body));
    }
    server.on_every(Reply::plain(302, "text/plain", "").header("location", "/again"));
    let before = server.requests().len();
    assert_eq!(error(&get(&tools(local()), &server.base_url()).await), "there are more than 5 redirects");
    assert_eq!(server.requests().len() - before, 6);
}

#[tokio::test]
async fn what_comes_back_is_text_or_a_picture_or_told() {
    let server = server().await;
    let tools = tools(local());
    for (kind, body, shown) in [
        ("application/json", "{ \"a\": 1.0 }", "{ \"a\": 1.0 }"),
        ("application/problem+json", "{}", "{}"),
        ("text/html; charset=utf-8", "<p>é", "<p>é"),
        ("", "plain", "plain"),
        ("text/plain", "", "HTTP 200: the answer has no content"),
        ("application/pdf", "%PDF", "HTTP 200: the answer is application/pdf, 4 bytes; it is not shown"),
        ("image/png", "not one", "HTTP 200: the answer is image/png, 7 bytes; it is not shown"),
        ("image/svg+xml", "<svg/>", "<svg/>"),
    ] {
        server.on_every(Reply::plain(200, kind, body));
        assert_eq!(text(&get(&tools, &server.base_url()).await), shown, "{kind}");
    }
    server.on_every(Reply::plain(200, "image/gif", "GIF89a"));
    let outcome = get(&tools, &server.base_url()).await;
    let url = "data:image/gif;base64,R0lGODlh".to_owned();
    assert_eq!(outcome.content, [Chunk::ImageUrl { url, detail: String::new() }]);
    server.on_every(Reply::plain(200, "text/plain", "x").header("content-encoding", "gzip"));
    assert!(text(&get(&tools, &server.base_url()).await).ends_with("it is not shown"));
}

#[tokio::test]
async fn answers_are_cut_at_a_character_and_never_read_beyond() {
    let server = server().await;
    let tools = tools(HttpOptions { max_response_bytes: 10, ..local() });
    let note = "\n[cut off here: the answer is longer than 10 bytes]";
    for (body, shown) in [("0123456789", "0123456789".to_owned()), ("012345678é", format!("012345678{note}"))] {
        server.on_every(Reply::plain(200, "text/plain", body));
        assert_eq!(text(&get(&tools, &server.base_url()).await), shown);
    }
    // An answer without an end does not hold the call.
    server.on_every(Reply::plain(200, "text/plain", &"x".repeat(1 << 20)).stall());
    assert_eq!(text(&get(&tools, &server.base_url()).await), format!("xxxxxxxxxx{note}"));
    server.on_every(Reply::plain(200, "image/gif", "GIF89a and so on"));
    let told = "HTTP 200: the answer is image/gif, of more than 10 bytes; it is not shown";
    assert_eq!(text(&get(&tools, &server.base_url()).await), told);
    // A caller may ask for less, not for more.
    server.on_every(Reply::plain(200, "text/plain", "0123456789+"));
    for (asked, shown) in [(4, "0123\n"), (1000, "0123456789\n")] {
        let tool = HttpRequestSpec { max_response_bytes: asked, ..spec("GET", &server.base_url()) };
        assert!(text(&call(&tools, tool, &json!({})).await).starts_with(shown));
    }
}

#[tokio::test]
async fn refusals_are_errors_with_the_beginning_of_their_text() {
    let server = server().await;
    let tools = tools(local());
    for (reply, told) in [
        (Reply::json(404, &json!({"why": "no such city"})), "HTTP 404: {\"why\":\"no such city\"}".to_owned()),
        (Reply::plain(500, "text/plain", ""), "HTTP 500".to_owned()),
        (Reply::plain(500, "text/plain", &"é".repeat(3000)), format!("HTTP 500: {}", "é".repeat(2000))),
        (Reply::plain(502, "image/png", "12"), "HTTP 502: image/png, 2 bytes".to_owned()),
        (Reply::plain(304, "text/plain", ""), "HTTP 304".to_owned()),
        (Reply::plain(302, "text/plain", ""), "HTTP 302".to_owned()),
    ] {
        server.on_every(reply);
        let outcome = get(&tools, &server.base_url()).await;
        assert_eq!(error(&outcome), told);
        assert_eq!(outcome.info, format!("{{\"http_status\":{}}}", &told[5..8]));
    }
}

#[tokio::test]
async fn failures_of_the_network_are_told_in_a_sentence() {
    let server = server().await;
    let tools = tools(local());
    let host = server.base_url().replace("http://", "");
    server.on_every(Reply::hang_up());
    let told = error(&get(&tools, &server.base_url()).await).to_owned();
    assert!(told.starts_with("127.0.0.1 gives no answer: "), "{told}");
    server.on_every(Reply::plain(200, "text/plain", "half").cut_after(1));
    let told = error(&get(&tools, &server.base_url()).await).to_owned();
    assert!(told.starts_with("127.0.0.1 gives no answer: its answer broke off"), "{told}");
    let told = error(&get(&tools, &format!("https://{host}/")).await).to_owned();
    assert!(told.starts_with("127.0.0.1 gives no answer: "), "{told}");
    drop(server);
    let told =
        error(&get(&tools, &format!("http://other.example:{}/", host.rsplit(':').next().expect("a port"))).await)
            .to_owned();
    assert!(told.starts_with("other.example gives no answer: ") && !told.contains("127.0.0.1"), "{told}");
}

#[tokio::test]
async fn a_call_takes_no_longer_than_it_may() {
    let server = server().await;
    let tools = tools(HttpOptions { timeout: Duration::from_millis(300), ..local() });
    let mut held = Reply::plain(200, "text/plain", "late");
    let _gate = held.gate();
    for reply in [held, Reply::plain(200, "text/plain", "half").stall()] {
        server.on_every(reply);
        // More than is allowed to callers is not granted.
        let tool = HttpRequestSpec { timeout_ms: 3_600_000, ..spec("GET", &server.base_url()) };
        assert_eq!(error(&call(&tools, tool, &json!({})).await), "there was no whole answer within 300 ms");
        server.connection_dropped().await;
    }
    let tool = HttpRequestSpec { timeout_ms: 50, ..spec("GET", &server.base_url()) };
    assert_eq!(error(&call(&tools, tool, &json!({})).await), "there was no whole answer within 50 ms");
}
