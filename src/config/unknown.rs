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
    let open: Vec<&Key> = known.open.iter().collect();
    for item in sources.file() {
        if wrong.iter().chain(&open).any(|section| item.key.is_within(section)) {
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
/// one of ours is taken for it, or one that would be a setting of a provider that the file does not have.
pub(super) fn in_environment(sources: &Sources, known: &Known) -> Vec<Problem> {
    let ours: Vec<String> = known.settings.iter().filter_map(Key::variable).collect();
    let wrong = sources.variables().filter_map(|name| {
        let text = match nearest(name, ours.iter().map(String::as_str)) {
            Some((_, 0)) | None => return None,
            Some((meant, 1..=2)) => format!("is not known; {meant} is"),
            Some(_) if is_of_some_provider(name, &ours) => {
                "is of a provider that is not configured: write its section, [providers.NAME], into the file".to_owned()
            }
            Some(_) => return None,
        };
        Some(Problem { origin: Origin::Variable(name.to_owned()), text })
    });
    wrong.collect()
}

/// Whether a provider of some name would have this variable: the built-in one has one that ends like it.
fn is_of_some_provider(name: &str, ours: &[String]) -> bool {
    const PROVIDERS: &str = "CAUSERIE_PROVIDERS_";
    let built_in = ours.iter().filter_map(|known| known.strip_prefix(PROVIDERS)?.strip_prefix("MISTRAL"));
    name.strip_prefix(PROVIDERS).is_some_and(|rest| built_in.into_iter().any(|ending| rest.ends_with(ending)))
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
