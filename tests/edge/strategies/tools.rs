//! Tools.

use causerie::domain::{
    Tool,
    tool::{
        CallTerms, Connector, ConnectorAuthorization, ConnectorKind, Function, HttpRequest, HttpRequestSpec,
        HumanHandoffTool, McpTools,
    },
};
use proptest::{
    collection::{btree_map, vec},
    option,
    prelude::*,
    sample::{select, subsequence},
};
use serde_json::{Map, Value, json};

use super::{name, text};

pub(super) fn schema() -> impl Strategy<Value = Map<String, Value>> {
    let property = prop_oneof![
        (0i64..1 << 50).prop_map(|least| json!({"type": "integer", "minimum": least})),
        Just(json!({"type": "number", "maximum": 0.5, "default": null})),
        text().prop_map(|text| json!({"enum": [text, true, -1, {"a": []}]})),
    ];
    prop::collection::hash_map(name(), property, 0..4).prop_map(|properties| {
        let schema = json!({"type": "object", "properties": Map::from_iter(properties)});
        serde_json::from_value(schema).expect("an object")
    })
}

/// Tools of all kinds, no two of one name.
pub(super) fn tools() -> BoxedStrategy<Vec<Tool>> {
    let named =
        btree_map(name(), named(), 0..4).prop_map(|tools| tools.into_iter().map(|(name, tool)| called(name, tool)));
    let servers = btree_map(name(), (choice(), names(), terms()), 0..3).prop_map(|servers| {
        servers.into_iter().map(|(server, ((include, exclude), requires_confirmation, terms))| {
            Tool::Mcp(McpTools { server, include, exclude, requires_confirmation, terms })
        })
    });
    let handoff = option::of(text().prop_map(|description| Tool::HumanHandoff(HumanHandoffTool { description })));
    (named, servers, connectors(), handoff)
        .prop_map(|(named, servers, connectors, handoff)| {
            named.chain(servers).chain(connectors).chain(handoff).collect()
        })
        .boxed()
}

/// A tool that its caller gives a name to.
fn named() -> BoxedStrategy<Tool> {
    let function = (text(), option::of(schema()), any::<bool>()).prop_map(|(description, parameters, strict)| {
        Tool::Function(Function { name: String::new(), description, parameters, strict })
    });
    let request =
        (option::of(request()), any::<bool>(), terms()).prop_map(|(declared, requires_confirmation, terms)| {
            Tool::HttpRequest(HttpRequest { name: String::new(), declared, requires_confirmation, terms })
        });
    let authorization = (select(vec!["oauth2-token", "api-key"]), name())
        .prop_map(|(kind, secret)| ConnectorAuthorization { kind: kind.to_owned(), secret });
    let connector = (option::of(authorization), choice(), names()).prop_map(
        |(authorization, (include, exclude), requires_confirmation)| {
            let kind = ConnectorKind::Custom { connector_id: String::new(), authorization };
            Tool::Connector(Connector { kind, include, exclude, requires_confirmation })
        },
    );
    prop_oneof![function, request, connector].boxed()
}

fn called(name: String, mut tool: Tool) -> Tool {
    match &mut tool {
        Tool::Function(function) => function.name = name,
        Tool::HttpRequest(request) => request.name = name,
        Tool::Connector(Connector { kind: ConnectorKind::Custom { connector_id, .. }, .. }) => *connector_id = name,
        Tool::Connector(_) | Tool::Mcp(_) | Tool::HumanHandoff(_) => unreachable!("they have names of their own"),
    }
    tool
}

fn connectors() -> BoxedStrategy<Vec<Tool>> {
    let kinds = vec(name(), 1..4).prop_map(|library_ids| {
        vec![
            ConnectorKind::WebSearch,
            ConnectorKind::WebSearchPremium,
            ConnectorKind::CodeInterpreter,
            ConnectorKind::ImageGeneration,
            ConnectorKind::DocumentLibrary { library_ids },
        ]
    });
    let kinds = kinds.prop_flat_map(|kinds| subsequence(kinds, 0..3));
    (kinds, choice(), names())
        .prop_map(|(kinds, (include, exclude), requires_confirmation)| {
            let tool = |kind| {
                let (include, exclude) = (include.clone(), exclude.clone());
                let requires_confirmation = requires_confirmation.clone();
                Tool::Connector(Connector { kind, include, exclude, requires_confirmation })
            };
            kinds.into_iter().map(tool).collect()
        })
        .boxed()
}

fn request() -> BoxedStrategy<HttpRequestSpec> {
    let url = "https?://[a-z.]{1,8}(:[0-9]{2,4})?(/[a-z]{0,4}(\\{[a-z]{1,4}\\})?)?(\\?[a-z]=\\{[a-z]\\})?";
    let method = select(vec!["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]);
    let headers = btree_map("[A-Za-z-]{1,8}", "[a-zé :${}]{0,9}", 0..3);
    let limits = (0..=3_600_000u32, 0..=i32::MAX.unsigned_abs());
    (text(), method, url, headers, option::of(schema()), limits)
        .prop_map(|(description, method, url, headers, parameters, (timeout_ms, max_response_bytes))| HttpRequestSpec {
            description,
            method: method.to_owned(),
            url,
            headers: headers.into_iter().collect(),
            parameters,
            timeout_ms,
            max_response_bytes,
        })
        .boxed()
}

fn terms() -> impl Strategy<Value = CallTerms> {
    let ttl = prop_oneof![Just(0u32), 1..=366 * 24 * 3600u32];
    (ttl, any::<bool>()).prop_map(|(confirmation_ttl_s, required)| CallTerms { confirmation_ttl_s, required })
}

fn names() -> impl Strategy<Value = Vec<String>> {
    vec("[!-~]{1,9}", 0..3)
}

/// Tools that are included, or such that are excluded.
fn choice() -> impl Strategy<Value = (Vec<String>, Vec<String>)> {
    prop_oneof![names().prop_map(|names| (names, Vec::new())), names().prop_map(|names| (Vec::new(), names))]
}
