//! Names in the sources that no setting has.

use super::{
    file::{FileValue, Value},
    key::Key,
    problem::{Problem, nearest},
    reader::Known,
    source::{Origin, Sources},
};

/// What stands in the file and is not known, or is known as something else.
pub(super) fn in_file(sources: &Sources, known: &Known) -> Vec<Problem> {
    let mut problems = Vec::new();
    // What a section of the wrong shape holds is not worth a fault of its own.
    let mut wrong: Vec<&Key> = Vec::new();
    for item in sources.file() {
        if wrong.iter().any(|section| item.key.is_within(section)) {
            continue;
        }
        if let Some(text) = fault(item, sources, known) {
            wrong.push(&item.key);
            problems.push(Problem { origin: item.origin.clone(), text });
        }
    }
    problems
}

/// Other programs may use the prefix (Kubernetes sets CAUSERIE_PORT for a service of that name), so only a name that is almost
/// one of ours is taken for it.
pub(super) fn in_environment(sources: &Sources, known: &Known) -> Vec<Problem> {
    let ours: Vec<String> = known.settings.iter().filter_map(Key::variable).collect();
    let misspelt = sources.variables().filter_map(|name| match nearest(name, ours.iter().map(String::as_str)) {
        Some((meant, 1..=2)) => {
            let text = format!("is not known; {meant} is");
            Some(Problem { origin: Origin::Variable(name.to_owned()), text })
        }
        Some(_) | None => None,
    });
    misspelt.collect()
}

fn fault(item: &FileValue, sources: &Sources, known: &Known) -> Option<String> {
    let key = &item.key;
    let is_setting = known.settings.contains(key);
    let is_array = known.arrays.contains(key);
    let is_section = known.sections.contains(key) || known.settings.iter().any(|setting| setting.is_within(key));
    match &item.value {
        Value::Text(_) | Value::List(_) if is_setting => None,
        // `budgets = []` names none.
        Value::List(texts) if is_array && texts.is_empty() => None,
        Value::Sections(_) if is_array => None,
        _ if is_array => Some(format!("is a list of sections: write [[{key}]] on a line of its own")),
        Value::Section | Value::Sections(_) if is_setting => Some("is a value, not a section".to_owned()),
        Value::Section if is_section => None,
        Value::Sections(_) if is_section => Some(format!("is one section: write [{key}] on a line of its own, once")),
        Value::Text(_) | Value::List(_) if is_section => {
            Some(format!("is a section, not a value: write [{key}] on a line of its own"))
        }
        Value::Section | Value::Sections(_) if holds_something(key, sources) => None,
        Value::Section | Value::Sections(_) => Some(near(key, known)),
        Value::Text(_) | Value::List(_) => Some(not_a_setting(key, known)),
    }
}

/// Whether a section has anything in it: that is a fault of its own, and the better one.
fn holds_something(section: &Key, sources: &Sources) -> bool {
    sources.file().iter().any(|item| !item.is_section() && item.key.is_within(section))
}

fn not_a_setting(key: &Key, known: &Known) -> String {
    if matches!(key.last(), "key" | "api_key" | "apikey" | "mistral_api_key" | "openai_api_key") {
        let provider = key.first_two().filter(|section| known.sections.contains(section));
        let provider = provider.unwrap_or_else(|| Key::from("providers.mistral"));
        return format!(
            "cannot be set here: put the key into a file of its own and name it in {provider}.key_file, or into an \
             environment variable and name that in {provider}.key_env"
        );
    }
    near(key, known)
}

fn near(key: &Key, known: &Known) -> String {
    let names: Vec<String> = known.settings.iter().map(ToString::to_string).collect();
    match nearest(&key.to_string(), names.iter().map(String::as_str)) {
        Some((meant, _)) => format!("is not a setting; the nearest one is {meant}"),
        None => "is not a setting".into(),
    }
}
