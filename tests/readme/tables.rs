//! The README's tables against the code that they describe.

use std::fmt::Write as _;

use causerie::{
    config::{Config, Row},
    grpc::status::{self, Retry},
};

use super::{blocks::blocks, compare, text};

/// The text between two marks, without them.
fn between(name: &str) -> String {
    let readme = text();
    let (begin, end) = (format!("<!-- {name}:begin -->\n"), format!("<!-- {name}:end -->"));
    let (_, rest) = readme.split_once(&begin).unwrap_or_else(|| panic!("README.md has no {begin}"));
    let (inside, _) = rest.split_once(&end).unwrap_or_else(|| panic!("README.md has no {end}"));
    inside.to_owned()
}

fn check(name: &str, found: &str) {
    let marked = |body: &str| format!("<!-- {name}:begin -->\n{body}<!-- {name}:end -->");
    compare(name, &marked(&between(name)), &marked(found));
}

fn advice(retry: Retry) -> String {
    match retry {
        Retry::Never => "no".to_owned(),
        Retry::After(what) => format!("after {what}"),
        Retry::IfTold => "if `RetryInfo` says when".to_owned(),
        Retry::Later { default_ms } => format!("yes, after {} s", seconds(default_ms)),
    }
}

fn seconds(ms: u64) -> String {
    if ms.is_multiple_of(1000) { (ms / 1000).to_string() } else { format!("{:.1}", ms as f64 / 1000.0) }
}

/// As the specification spells it.
fn code_name(code: tonic::Code) -> String {
    let mut name = String::new();
    for c in format!("{code:?}").chars() {
        if c.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(c.to_ascii_uppercase());
    }
    name
}

#[test]
fn the_error_table_is_that_of_the_code() {
    let mut table = String::from("| reason | gRPC code | when | retry |\n|---|---|---|---|\n");
    for (reason, code, retry) in status::table() {
        let name = status::name(reason);
        let _ = writeln!(table, "| {name} | {} | {} | {} |", code_name(code), meaning(name), advice(retry));
    }
    check("errors", &table);
}

/// What the contract says of a reason, after its code.
fn meaning(reason: &str) -> String {
    let proto = include_str!("../../proto/causerie/v1/error.proto");
    let lines: Vec<&str> = proto.lines().map(str::trim).collect();
    let at = lines.iter().position(|line| line.starts_with(&format!("{reason} = "))).expect("the contract has it");
    let above = lines[..at].iter().rev().map_while(|line| line.strip_prefix("// "));
    let mut comment: Vec<&str> = above.collect();
    comment.reverse();
    let comment = comment.join(" ");
    let (_, said) = comment.split_once(": ").expect("the code comes first");
    let said = said.trim_end_matches('.');
    // Those are another column's.
    let said = said.strip_suffix("; retry after `RetryInfo`").unwrap_or(said);
    said.strip_suffix(". Retry").unwrap_or(said).to_owned()
}

#[test]
fn the_configuration_table_is_that_of_the_code() {
    let mut table = String::from("| setting | default | allowed | what it does |\n|---|---|---|---|\n");
    for Row { key, default, allowed, help, .. } in Config::describe() {
        let default = if default.is_empty() { "none".to_owned() } else { format!("`{default}`") };
        let _ = writeln!(table, "| `{key}` | {default} | {allowed} | {help} |");
    }
    check("settings", &table);
}

#[test]
fn the_service_config_is_json_and_retries_only_what_costs_nothing() {
    let block = blocks(&text()).into_iter().find(|block| block.language == "json").expect("a service config");
    let config: serde_json::Value = serde_json::from_str(&block.body).expect("JSON");
    let method = &config["methodConfig"][0];
    assert_eq!(method["name"][0]["service"], "causerie.v1.ConversationService");
    assert_eq!(method["retryPolicy"]["retryableStatusCodes"], serde_json::json!(["UNAVAILABLE"]));
}

/// Every event that this server sends has its row; those that only later servers will send have none.
#[test]
fn the_event_table_names_events_of_the_contract() {
    let proto = include_str!("../../proto/causerie/v1/event.proto");
    let readme = text();
    let (_, events) = readme.split_once("## Events\n").expect("a section on events");
    let rows = events.lines().skip_while(|line| !line.starts_with("| `")).take_while(|line| line.starts_with("| `"));
    let mut count = 0;
    for row in rows {
        let name = row.trim_start_matches("| `").split('`').next().expect("a name");
        assert!(proto.lines().any(|line| line.contains(&format!(" {name} = "))), "{name} is no event");
        let theirs = row.split('|').nth(2).expect("a second column").trim();
        assert!(theirs.is_empty() || proto.contains(&format!("({theirs})")), "{theirs}");
        count += 1;
    }
    assert_eq!(count, 19);
}
