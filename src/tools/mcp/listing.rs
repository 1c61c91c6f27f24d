//! A server's tools, as a model is told of them.

use std::{
    collections::{BTreeMap, HashSet},
    hash::Hasher,
};

use rmcp::model::Tool;
use serde_json::{Map, Value, json};
use siphasher::sip::SipHasher13;

use super::McpServerOptions;
use crate::domain::tool::ToolSpec;

/// What providers take for a function's name.
const NAME_BYTES: usize = 64;
/// Of a description. Models are told of all tools in every request.
const DESCRIPTION_CHARS: usize = 8192;

/// A tool of a server.
#[derive(Debug, Clone, PartialEq)]
pub struct McpTool {
    /// What the server calls it.
    pub name: String,
    /// What the server shows to people, if it says so.
    pub title: Option<String>,
    /// What the model is told. Its name is `{server}_{tool}`, with `_` in place of what no name may hold; distinct within the
    /// server, and the same as long as the server lists the same tools.
    pub spec: ToolSpec,
}

impl McpServerOptions {
    /// Whether the operator lets models use a tool, by the server's own name for it.
    pub(super) fn allows(&self, tool: &str) -> bool {
        let has = |names: &[String]| names.iter().any(|name| name == tool);
        (self.include.is_empty() || has(&self.include)) && !has(&self.exclude)
    }
}

/// About how much memory a tool takes.
pub(super) fn size_bytes(tool: &Tool) -> usize {
    let schema = serde_json::to_string(&*tool.input_schema).map_or(0, |text| text.len());
    tool.name.len() + tool.description.as_ref().map_or(0, |text| text.len()) + schema
}

/// Those that the operator allows, in the server's order; of two with one name the first.
pub(super) fn tools(options: &McpServerOptions, mut listed: Vec<Tool>) -> Vec<McpTool> {
    let mut seen = HashSet::new();
    listed.retain(|tool| !tool.name.is_empty() && options.allows(&tool.name) && seen.insert(tool.name.clone()));
    let names = names(&options.name, listed.iter().map(|tool| &*tool.name));
    listed.into_iter().zip(names).map(|(tool, name)| of(tool, name)).collect()
}

fn of(tool: Tool, name: String) -> McpTool {
    let Tool { name: own, title, description, input_schema, .. } = tool;
    let description = description.unwrap_or_default();
    McpTool {
        name: own.into_owned(),
        title,
        spec: ToolSpec {
            name,
            description: description.chars().take(DESCRIPTION_CHARS).collect(),
            parameters: object(&input_schema),
        },
    }
}

/// Providers take nothing but the schema of an object.
fn object(schema: &Map<String, Value>) -> Map<String, Value> {
    if schema.get("type").and_then(Value::as_str) == Some("object") {
        return schema.clone();
    }
    let Value::Object(any) = json!({"type": "object"}) else { return Map::new() };
    any
}

/// The names for the model, in the same order. They depend on which names there are, not on their order.
fn names<'a>(server: &str, own: impl Iterator<Item = &'a str> + Clone) -> Vec<String> {
    let mut taken: BTreeMap<String, usize> = BTreeMap::new();
    for own in own.clone() {
        *taken.entry(plain(server, own)).or_default() += 1;
    }
    let name = |own: &str| {
        let (full, plain) = (format!("{server}_{own}"), plain(server, own));
        let is_shared = taken.get(&plain).is_some_and(|count| *count > 1);
        // Of those that share a name, the one that is written so keeps it.
        if plain.len() > NAME_BYTES || is_shared && plain != full { hashed(&plain, &full) } else { plain }
    };
    own.map(name).collect()
}

fn plain(server: &str, own: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    format!("{server}_{own}").chars().map(|c| if allowed(c) { c } else { '_' }).collect()
}

/// As much of it as leaves room for a hash of the whole.
fn hashed(plain: &str, full: &str) -> String {
    let mut hasher = SipHasher13::new();
    hasher.write(full.as_bytes());
    let hash = format!("_{:08x}", hasher.finish() >> 32);
    let kept = plain.len().min(NAME_BYTES - hash.len());
    format!("{}{hash}", &plain[..kept])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(own: &[&str]) -> Vec<String> {
        names("files", own.iter().copied())
    }

    #[test]
    fn names_are_plain_where_they_can_be() {
        assert_eq!(named(&["read", "write.all", "löschen"]), ["files_read", "files_write_all", "files_l_schen"]);
        let long = "x".repeat(58);
        assert_eq!(named(&[&long]), [format!("files_{long}")], "64 fit");
    }

    #[test]
    fn names_are_distinct_whatever_the_order() {
        let long = "x".repeat(100);
        let longer = "x".repeat(101);
        let own = ["a.b", "a_b", "a b", &long, &longer];
        let forward = named(&own);
        let mut backward = named(&own.iter().rev().copied().collect::<Vec<_>>());
        backward.reverse();
        assert_eq!(forward, backward);
        assert_eq!(forward[1], "files_a_b", "written so");
        assert_eq!(forward.iter().collect::<HashSet<_>>().len(), own.len(), "{forward:?}");
        for name in &forward {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
            assert!(name.len() <= 64 && name.bytes().all(allowed), "{name}");
        }
        // It stands in stored conversations: another version of the program must say the same.
        assert_eq!(forward[0], "files_a_b_44418086");
    }

    #[test]
    fn a_schema_is_that_of_an_object() {
        let schema = |value: Value| value.as_object().cloned().expect("an object");
        let good = schema(json!({"type": "object", "properties": {"a": {}}}));
        assert_eq!(object(&good), good);
        for other in [json!({}), json!({"type": "string"}), json!({"type": ["object"]})] {
            assert_eq!(object(&schema(other)), schema(json!({"type": "object"})));
        }
    }
}
