//! What a provider says of a model, in the shapes of Mistral, OpenAI, vLLM, Ollama, llama.cpp and OpenRouter.
//!
//! Read leniently: what is missing or has another shape is not known, and a card without an id is passed over.

use std::collections::HashSet;

use serde_json::{Map, Value};

/// Capabilities are listed by name; more than this is no list for people.
const MOST_CAPABILITIES: usize = 64;

/// What a provider says of a model.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ModelCard {
    /// Its name in requests.
    pub id: String,
    /// Other names for it.
    pub aliases: Vec<String>,
    /// How many tokens history and answer may have together.
    pub context_tokens: Option<u64>,
    /// What it can do, as the provider names it: `completion_chat`, `vision` …
    pub capabilities: Vec<String>,
    /// When it is or was retired, a date or a time as the provider writes it.
    pub deprecated_at: Option<String>,
    /// The model that replaces it then.
    pub replacement: Option<String>,
    /// The temperature where a request sets none.
    pub default_temperature: Option<f64>,
}

/// The cards of the body of an answer, in its order; a name that comes twice only once. `None`: it is no list of models.
pub(super) fn read_list(body: &[u8]) -> Option<Vec<ModelCard>> {
    let list = match serde_json::from_slice(body).ok()? {
        Value::Object(mut object) => object.remove("data").or_else(|| object.remove("models"))?,
        list @ Value::Array(_) => list,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return None,
    };
    // Go writes an empty list as null.
    let items = match list {
        Value::Array(items) => items,
        Value::Null => Vec::new(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => return None,
    };
    let mut seen = HashSet::new();
    let cards = items.iter().filter_map(|item| read(item.as_object()?));
    Some(cards.filter(|card| seen.insert(card.id.clone())).collect())
}

fn read(card: &Map<String, Value>) -> Option<ModelCard> {
    let text = |name: &str| card.get(name)?.as_str().map(str::to_owned).filter(|text| !text.is_empty());
    // Google's ids are resource names.
    let id = text("id").or_else(|| text("name"))?;
    let id = id.strip_prefix("models/").map(str::to_owned).unwrap_or(id);
    Some(ModelCard {
        aliases: texts(card.get("aliases")).into_iter().filter(|alias| *alias != id).collect(),
        id,
        context_tokens: context_tokens(card),
        capabilities: capabilities(card.get("capabilities")),
        deprecated_at: text("deprecation").or_else(|| text("deprecation_date")),
        replacement: text("deprecation_replacement_model"),
        default_temperature: card.get("default_model_temperature").and_then(Value::as_f64),
    })
}

/// Mistral, vLLM, Groq, OpenRouter, llama.cpp: each has its own name for it.
fn context_tokens(card: &Map<String, Value>) -> Option<u64> {
    let names = ["max_context_length", "max_model_len", "context_window", "context_length"];
    let flat = names.into_iter().find_map(|name| card.get(name)?.as_u64());
    let tokens = flat.or_else(|| card.get("meta")?.get("n_ctx")?.as_u64());
    tokens.filter(|tokens| *tokens > 0)
}

/// An object of switches, or a list of names.
fn capabilities(value: Option<&Value>) -> Vec<String> {
    let mut names: Vec<String> = match value {
        Some(Value::Object(switches)) => {
            switches.iter().filter(|(_, on)| **on == Value::Bool(true)).map(|(name, _)| name.clone()).collect()
        }
        other => texts(other),
    };
    names.truncate(MOST_CAPABILITIES);
    names
}

fn texts(value: Option<&Value>) -> Vec<String> {
    let items = value.and_then(Value::as_array).into_iter().flatten();
    items.filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(id: &str) -> ModelCard {
        ModelCard { id: id.to_owned(), ..ModelCard::default() }
    }

    #[test]
    fn mistral_s_cards_are_read_whole() {
        let body = r#"{"object":"list","data":[{"id":"m-2512","object":"model","created":1,"owned_by":"mistralai",
            "capabilities":{"completion_chat":true,"vision":false,"audio":null,"function_calling":true},"name":"m-2512",
            "description":"d","max_context_length":262144,"aliases":["m-latest","m-2512"],"deprecation":"2026-05-31T12:00:00Z",
            "deprecation_replacement_model":"n-2603","default_model_temperature":0.3,"type":"base"}]}"#;
        let expected = ModelCard {
            id: "m-2512".to_owned(),
            aliases: vec!["m-latest".to_owned()],
            context_tokens: Some(262_144),
            capabilities: vec!["completion_chat".to_owned(), "function_calling".to_owned()],
            deprecated_at: Some("2026-05-31T12:00:00Z".to_owned()),
            replacement: Some("n-2603".to_owned()),
            default_temperature: Some(0.3),
        };
        assert_eq!(read_list(body.as_bytes()), Some(vec![expected]));
    }

    #[test]
    fn other_shapes_say_less() {
        let context = |id: &str, tokens| ModelCard { context_tokens: Some(tokens), ..card(id) };
        let rows = [
            (r#"{"data":[{"id":"a"},{"id":"b","max_model_len":32768}]}"#, vec![card("a"), context("b", 32_768)]),
            (r#"{"data":[{"id":"a","context_length":8192,"name":"A: a"}]}"#, vec![context("a", 8192)]),
            (
                r#"{"data":[{"id":"a","meta":{"n_ctx":4096,"n_ctx_train":1}}],"models":[{"name":"b"}]}"#,
                vec![context("a", 4096)],
            ),
            (r#"{"models":[{"name":"llama3:8b","capabilities":["tools"]}]}"#, {
                vec![ModelCard { capabilities: vec!["tools".to_owned()], ..card("llama3:8b") }]
            }),
            (r#"[{"id":"a"},{"id":"a"},{"id":"models/b"}]"#, vec![card("a"), card("b")]),
            (r#"{"object":"list","data":null}"#, vec![]),
            (
                r#"{"data":[null,7,"x",{},{"id":""},{"id":9},{"id":"a","aliases":7,"capabilities":"x","deprecation":null,
                "max_context_length":"many","default_model_temperature":"warm"}]}"#,
                vec![card("a")],
            ),
        ];
        for (body, expected) in rows {
            assert_eq!(read_list(body.as_bytes()), Some(expected), "{body}");
        }
        for body in ["", "{}", "7", "<html>", r#"{"data":{}}"#, r#"{"data":[{"id":"a"}"#] {
            assert_eq!(read_list(body.as_bytes()), None, "{body}");
        }
    }
}
