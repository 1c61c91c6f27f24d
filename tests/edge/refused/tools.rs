//! Tools of every kind.

use std::collections::BTreeMap;

use causerie::{
    grpc::convert::request,
    proto::{self, tool::Kind},
};
use prost_types::{Duration, Struct, value::Kind as ValueKind};

use super::{function, good, object, refused, with_tools};

const NAMES: &str = "is required: 1 to 256 visible ASCII characters";
const CHOICE: &str = "must be left out when `include` is given: all else is left out already";
const HANDOFF: &str = "is the name of a handoff: rename it";
const TWICE: &str = "is the name of an earlier tool too: rename it, or leave it out";
const TTL: &str = "must be whole seconds, 1 to 31622400, or left out";
const LONG: &str = "must be at most 8192 bytes, has 8193: shorten it";

/// All that is wrong with a request: field and description.
#[track_caller]
fn told(request: proto::StartRequest, expected: &[(&str, &str)]) {
    let failure = request::start("", request).expect_err("the request breaks a rule");
    let told = failure.violations.iter().map(|violation| (violation.field.as_str(), violation.description.as_str()));
    assert_eq!(told.collect::<Vec<_>>(), expected);
}

fn tool(kind: Kind) -> proto::Tool {
    proto::Tool { kind: Some(kind) }
}

/// All that is wrong with a tool; the fields are those within it.
#[track_caller]
fn wrong(kind: Kind, expected: &[(&str, &str)]) {
    let fields: Vec<String> = expected.iter().map(|(field, _)| format!("tools[0].{field}")).collect();
    let expected: Vec<_> = fields.iter().zip(expected).map(|(field, (_, text))| (field.as_str(), *text)).collect();
    told(with_tools(vec![tool(kind)]), &expected);
}

fn long(of: usize) -> String {
    "x".repeat(of)
}

fn seconds(seconds: i64) -> Option<Duration> {
    Some(Duration { seconds, nanos: 0 })
}

#[test]
fn functions() {
    refused(with_tools(vec![function("")]), &["tools[0].function.name"]);
    refused(with_tools(vec![function("get weather")]), &["tools[0].function.name"]);
    refused(with_tools(vec![function(&"x".repeat(65))]), &["tools[0].function.name"]);
    let with = |change: fn(&mut proto::Function)| {
        let mut function = proto::Function { name: "f".to_owned(), ..Default::default() };
        change(&mut function);
        with_tools(vec![proto::Tool { kind: Some(Kind::Function(function)) }])
    };
    refused(with(|f| f.description = "x".repeat(8193)), &["tools[0].function.description"]);
    let schema = |key: &str, value: &str| Some(object(key, ValueKind::StringValue(value.to_owned())));
    refused(
        with(|f| f.parameters = Some(object("type", ValueKind::NumberValue(1.0)))),
        &["tools[0].function.parameters"],
    );
    refused(
        with(|f| f.parameters = Some(object("x", ValueKind::NumberValue(f64::NAN)))),
        &["tools[0].function.parameters"],
    );
    for parameters in
        [schema("type", "array"), schema("$ref", "http://127.0.0.1:1/x"), schema("x", &"y".repeat(256 << 10))]
    {
        let function = proto::Function { name: "f".to_owned(), parameters, ..Default::default() };
        let tool = proto::Tool { kind: Some(Kind::Function(function)) };
        refused(with_tools(vec![tool]), &["tools[0].function.parameters"]);
    }
    for name in ["transfer_to_agent", "transfer_to_human"] {
        wrong(function(name).kind.expect("a function"), &[("function.name", HANDOFF)]);
    }
}

#[test]
fn how_many_and_which() {
    told(
        with_tools((0..129).map(|i| function(&format!("f{i}"))).collect()),
        &[("tools", "must be at most 128 tools, has 129: offer fewer")],
    );
    let text = "must be exactly one kind of tool that this release knows: set `function`, `mcp` or another";
    told(with_tools(vec![proto::Tool::default()]), &[("tools[0]", text)]);
}

#[test]
fn names_that_two_tools_have() {
    let request =
        |name: &str| Kind::HttpRequest(proto::HttpRequestTool { name: name.to_owned(), ..Default::default() });
    let server = |name: &str| Kind::Mcp(proto::McpTools { server: name.to_owned(), ..Default::default() });
    let custom = |connector_id: &str| {
        let connector_id = connector_id.to_owned();
        Kind::Connector(proto::CustomConnectorTool { connector_id, ..Default::default() })
    };
    let search = || Kind::WebSearch(proto::ConnectorTool::default());
    let person = || Kind::HumanHandoff(proto::HumanHandoffTool::default());
    let cases = [
        (function("f").kind.expect("a function"), "function.name"),
        (request("f"), "http_request.name"),
        (custom("f"), "connector.connector_id"),
    ];
    for (again, field) in cases {
        told(with_tools(vec![function("f"), tool(again)]), &[(&format!("tools[1].{field}"), TWICE)]);
    }
    told(with_tools(vec![tool(server("f")), tool(server("f"))]), &[("tools[1].mcp.server", TWICE)]);
    told(with_tools(vec![tool(search()), tool(search())]), &[("tools[1].web_search", TWICE)]);
    told(with_tools(vec![tool(person()), tool(person())]), &[("tools[1].human_handoff", TWICE)]);
    // The model sees the tools of a server under other names.
    let both = with_tools(vec![function("f"), tool(server("f"))]);
    assert!(request::start("", both).is_ok());
}

#[test]
fn servers() {
    let with = |change: fn(&mut proto::McpTools)| {
        let mut tools = proto::McpTools { server: "docs".to_owned(), ..Default::default() };
        change(&mut tools);
        Kind::Mcp(tools)
    };
    let name = "must be letters, digits, `_` and `-` only, 1 of its characters are others";
    wrong(with(|t| t.server = "my docs".to_owned()), &[("mcp.server", name)]);
    let both = with(|t| (t.include, t.exclude) = (vec!["a".to_owned()], vec!["b".to_owned()]));
    wrong(both, &[("mcp.exclude", CHOICE)]);
    wrong(with(|t| t.include = vec!["a".to_owned(), String::new()]), &[("mcp.include[1]", NAMES)]);
    wrong(with(|t| t.exclude = vec![String::new()]), &[("mcp.exclude[0]", NAMES)]);
    let many = "must be at most 128 names, has 129";
    wrong(with(|t| t.requires_confirmation = vec!["a".to_owned(); 129]), &[("mcp.requires_confirmation", many)]);
    for ttl in [seconds(0), seconds(-1), seconds(31_622_401), Some(Duration { seconds: 1, nanos: 1 })] {
        let tools = proto::McpTools { server: "docs".to_owned(), confirmation_ttl: ttl, ..Default::default() };
        wrong(Kind::Mcp(tools), &[("mcp.confirmation_ttl", TTL)]);
    }
}

fn http(change: impl FnOnce(&mut proto::HttpRequestTool)) -> Kind {
    let url = "https://example.com/{a}".to_owned();
    let mut request = proto::HttpRequestTool { name: "get".to_owned(), url, ..Default::default() };
    change(&mut request);
    Kind::HttpRequest(request)
}

#[test]
fn requests() {
    wrong(http(|r| r.name = "transfer_to_agent".to_owned()), &[("http_request.name", HANDOFF)]);
    wrong(http(|r| r.description = long(8193)), &[("http_request.description", LONG)]);
    let method = "must be one of GET, HEAD, POST, PUT, PATCH, DELETE";
    wrong(http(|r| r.method = "get".to_owned()), &[("http_request.method", method)]);
    wrong(http(|r| r.max_response_bytes = -1), &[("http_request.max_response_bytes", "must be at least 0, is -1")]);
    wrong(http(|r| r.confirmation_ttl = seconds(0)), &[("http_request.confirmation_ttl", TTL)]);
    let schema = object("type", ValueKind::StringValue("array".to_owned()));
    let text = "must be the schema of an object: set \"type\": \"object\" at its top";
    wrong(http(|r| r.parameters = Some(schema)), &[("http_request.parameters", text)]);
    let times = [seconds(0), seconds(-1), seconds(3601), seconds(i64::MAX), Some(Duration { seconds: 0, nanos: 999 })];
    for timeout in times {
        wrong(http(|r| r.timeout = timeout), &[("http_request.timeout", "must be 1 ms to 1 h")]);
    }
}

#[test]
fn addresses_of_requests() {
    for url in ["ftp://example.com", "example.com", "file:///etc/passwd"] {
        let text = "must begin with https:// or http://";
        wrong(http(|r| r.url = url.to_owned()), &[("http_request.url", text)]);
    }
    for url in ["https://", "https:///path", "http://{host}/", "https://a.{b}:80/x", "https://u:p@a/", "https://{a}?b"]
    {
        let text = "must have a fixed host, without arguments and without a user's name";
        wrong(http(|r| r.url = url.to_owned()), &[("http_request.url", text)]);
    }
    let url = format!("https://a/{}", long(8183));
    wrong(http(|r| r.url = url), &[("http_request.url", LONG)]);
}

#[test]
fn headers_of_requests() {
    let with = |headers: BTreeMap<String, String>| http(|r| r.headers = headers);
    let one = |name: &str, value: &str| with([(name.to_owned(), value.to_owned())].into());
    let many = (0..65).map(|i| (format!("x-{i}"), String::new())).collect();
    wrong(with(many), &[("http_request.headers", "must be at most 64 headers, has 65")]);
    for (name, length) in [("", 0), ("a b", 3), ("a:", 2), ("ü", 2), (&long(257), 257)] {
        let text = format!("has a name of {length} bytes that is no header's (RFC 9110)");
        wrong(one(name, "x"), &[("http_request.headers", &text)]);
    }
    let text = "must be at most 8192 bytes without control characters";
    for value in ["a\r\nb: c", "\u{7f}", &long(8193)] {
        wrong(one("x-a", value), &[("http_request.headers[\"x-a\"]", text)]);
    }
}

/// Without an address it is the configuration's tool, of which nothing can be said here.
#[test]
fn requests_that_the_configuration_declares() {
    let all = proto::HttpRequestTool {
        name: "declared".to_owned(),
        description: "What it does".to_owned(),
        method: "GET".to_owned(),
        url: String::new(),
        headers: [("x-a".to_owned(), "b".to_owned())].into(),
        parameters: Some(Struct::default()),
        timeout: seconds(1),
        max_response_bytes: 1,
        requires_confirmation: true,
        confirmation_ttl: seconds(1),
        required: true,
    };
    let fields = ["description", "method", "headers", "parameters", "timeout", "max_response_bytes"];
    let fields = fields.map(|field| format!("http_request.{field}"));
    let text = "needs `url`; without it the configuration's tool is meant";
    wrong(Kind::HttpRequest(all), &fields.each_ref().map(|field| (field.as_str(), text)));
}

#[test]
fn connectors() {
    let plain = || proto::ConnectorTool {
        include: vec!["a".to_owned()],
        exclude: vec!["b".to_owned()],
        requires_confirmation: vec![String::new()],
    };
    let kinds = [
        (Kind::WebSearch(plain()), "web_search"),
        (Kind::WebSearchPremium(plain()), "web_search_premium"),
        (Kind::CodeInterpreter(plain()), "code_interpreter"),
        (Kind::ImageGeneration(plain()), "image_generation"),
    ];
    for (kind, field) in kinds {
        let (exclude, confirm) = (format!("{field}.exclude"), format!("{field}.requires_confirmation[0]"));
        wrong(kind, &[(&exclude, CHOICE), (&confirm, NAMES)]);
    }
    let library = |library_ids: Vec<String>| {
        Kind::DocumentLibrary(proto::DocumentLibraryTool { library_ids, ..Default::default() })
    };
    wrong(library(vec![]), &[("document_library.library_ids", "must be 1 to 64 ids, has 0")]);
    wrong(library(vec!["a".to_owned(); 65]), &[("document_library.library_ids", "must be 1 to 64 ids, has 65")]);
    wrong(library(vec![String::new()]), &[("document_library.library_ids[0]", NAMES)]);
    let custom = |kind: &str, secret: &str| {
        Kind::Connector(proto::CustomConnectorTool {
            connector_id: "crm".to_owned(),
            authorization_type: kind.to_owned(),
            authorization_secret: secret.to_owned(),
            ..Default::default()
        })
    };
    wrong(Kind::Connector(proto::CustomConnectorTool::default()), &[("connector.connector_id", NAMES)]);
    let text = "must be \"oauth2-token\" or \"api-key\", with `authorization_secret`";
    wrong(custom("password", "crm_key"), &[("connector.authorization_type", text)]);
    wrong(custom("", "crm_key"), &[("connector.authorization_type", text)]);
    let text = "is required: 1 to 64 letters, digits, `_` and `-`";
    wrong(custom("api-key", ""), &[("connector.authorization_secret", text)]);
}

#[test]
fn handoffs_to_a_person() {
    let person = proto::HumanHandoffTool { description: long(8193) };
    wrong(Kind::HumanHandoff(person), &[("human_handoff.description", LONG)]);
}

/// A choice names what the model would see: the names of a server's tools are not known here.
#[test]
fn a_choice_of_a_tool_that_is_not_offered() {
    let named = |tools: Vec<proto::Tool>| {
        let kind = Some(proto::tool_choice::Kind::FunctionName("get".to_owned()));
        let tool_choice = Some(proto::ToolChoice { kind });
        let args = proto::CompletionArgs { tool_choice, ..Default::default() };
        proto::StartRequest { tools, completion_args: Some(args), ..good() }
    };
    let search = || tool(Kind::WebSearch(proto::ConnectorTool::default()));
    refused(named(vec![search()]), &["completion_args.tool_choice.function_name"]);
    assert!(request::start("", named(vec![search(), tool(http(|_| ()))])).is_ok());
    let server = proto::McpTools { server: "docs".to_owned(), ..Default::default() };
    assert!(request::start("", named(vec![tool(Kind::Mcp(server))])).is_ok());
}
