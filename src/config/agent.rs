use std::{collections::BTreeMap, fs, path::PathBuf};

use serde_json::Value;

use super::{key::Key, reader::Reader, rule::Rule};

/// An agent that the service has from its start, and that calls can't change.
///
/// What its tools and completion arguments may be is the contract's to say, not the configuration's: they stand here as they were
/// written, in protobuf's JSON.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Agent {
    /// Where it stands, such as `agents.support`.
    pub key: String,
    /// Its name; its id follows from it.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// The model that it asks.
    pub model: String,
    /// The models that take over when that one fails. Empty: those that hold for all.
    pub fallback_models: Vec<String>,
    /// The system text.
    pub instructions: String,
    /// What the model may use.
    pub tools: Vec<Value>,
    /// How the model answers.
    pub completion_args: Option<Value>,
    /// Whom it may hand over to: names of other agents here, or ids.
    pub handoffs: Vec<String>,
    /// The operator's own pairs.
    pub metadata: BTreeMap<String, String>,
}

impl Agent {
    pub(super) fn read_all(from: &mut Reader<'_>) -> Vec<Agent> {
        let all = Key::from("agents");
        let names = from.sections_in(&all);
        names.into_iter().filter_map(|name| Agent::read(from, all.name(&name), name)).collect()
    }

    /// None after a fault that leaves it without a model.
    fn read(from: &mut Reader<'_>, key: Key, name: String) -> Option<Agent> {
        let mut section = from.named(key.clone());
        let description = section.optional("description", Rule::text(8192), "What it is for.");
        let model = section.required("model", Rule::model(), None, "The model that it asks.");
        let fallback_models = section.list("fallback_models", Rule::model(), "The models that take over.");
        let text = section.optional("instructions", Rule::text(1 << 20), "The system text.");
        let file = section.optional("instructions_file", Rule::path(), "A file with the system text.");
        let handoffs = section.list("handoffs", Rule::text(64), "Whom it may hand over to.");
        let instructions = instructions(from, &key, text, file);
        let metadata = metadata(from, &key.name("metadata"));
        let tools = match from.json(&key.name("tools")) {
            None => Vec::new(),
            Some(Value::Array(tools)) => tools.clone(),
            Some(_) => {
                from.reject(&key.name("tools"), format!("is a list: write [[{key}.tools]] on a line of its own"));
                Vec::new()
            }
        };
        let completion_args = from.json(&key.name("completion_args")).cloned();
        Some(Agent {
            key: key.to_string(),
            name,
            description: description.unwrap_or_default(),
            model: model?,
            fallback_models: fallback_models.unwrap_or_default(),
            instructions,
            tools,
            completion_args,
            handoffs: handoffs.unwrap_or_default(),
            metadata,
        })
    }
}

fn instructions(from: &mut Reader<'_>, key: &Key, text: Option<String>, file: Option<PathBuf>) -> String {
    match (text, file) {
        (Some(text), None) => text,
        (None, None) => String::new(),
        (None, Some(path)) => fs::read_to_string(&path).unwrap_or_else(|error| {
            from.reject(
                &key.name("instructions_file"),
                format!("is {}, which cannot be read: {error}", path.display()),
            );
            String::new()
        }),
        (Some(text), Some(_)) => {
            from.reject(&key.name("instructions_file"), "cannot be set beside instructions");
            text
        }
    }
}

fn metadata(from: &mut Reader<'_>, key: &Key) -> BTreeMap<String, String> {
    let names = from.values_in(key);
    let mut pairs = from.named(key.clone());
    let read = names.into_iter().filter_map(|name| {
        let value = pairs.optional(&name, Rule::text(512), "The operator's own.")?;
        Some((name, value))
    });
    read.collect()
}
