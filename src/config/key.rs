//! Where a setting stands: the names on the way to it.

use std::fmt;

/// The place of a setting. Kept as a list of names, because the name of a model may hold dots and slashes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(Vec<Segment>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    Name(String),
    /// The place in an array of sections, from 0.
    Index(usize),
}

impl Key {
    /// The place of everything.
    pub(super) fn top() -> Key {
        Key(Vec::new())
    }

    /// What has this name in here.
    pub(super) fn name(&self, name: &str) -> Key {
        self.then(Segment::Name(name.to_owned()))
    }

    /// The section at this place, from 0, in the array here.
    pub(super) fn index(&self, index: usize) -> Key {
        self.then(Segment::Index(index))
    }

    /// The name of the setting that stands in `section` itself, not deeper.
    pub(super) fn name_in(&self, section: &Key) -> Option<&str> {
        match self.0.strip_prefix(section.0.as_slice()) {
            Some([Segment::Name(name)]) => Some(name),
            _ => None,
        }
    }

    /// Whether this stands somewhere in `section`, at any depth, or is it.
    pub(super) fn is_within(&self, section: &Key) -> bool {
        self.0.starts_with(&section.0)
    }

    /// The last name.
    pub(super) fn last(&self) -> &str {
        match self.0.last() {
            Some(Segment::Name(name)) => name,
            Some(Segment::Index(_)) | None => "",
        }
    }

    /// Whether what stands here has a form of its own: tools and completion arguments of agents, which are in protobuf's JSON, and
    /// the schemas of tools.
    pub(super) fn is_free_form(&self) -> bool {
        match self.0.as_slice() {
            [Segment::Name(section), Segment::Name(_), Segment::Name(field)] => {
                section == "agents" && matches!(field.as_str(), "tools" | "completion_args")
            }
            [
                Segment::Name(tools),
                Segment::Name(http),
                Segment::Name(requests),
                Segment::Name(_),
                Segment::Name(field),
            ] => [tools, http, requests, field] == ["tools", "http", "requests", "parameters"],
            _ => false,
        }
    }

    /// The first two names as a place of their own: the provider's, of a key within `providers`.
    pub(super) fn first_two(&self) -> Option<Key> {
        Some(Key(self.0.get(..2)?.to_vec()))
    }

    /// The flag: `store.cache_mib` is `--store-cache-mib`.
    pub(super) fn flag(&self) -> String {
        format!("--{}", self.to_string().replace(['.', '_'], "-"))
    }

    /// The environment variable: `store.cache_mib` is `CAUSERIE_STORE_CACHE_MIB`. None for what stands deeper than a
    /// provider's settings: the names of models differ in what a variable's name cannot hold.
    pub(super) fn variable(&self) -> Option<String> {
        let names = self.0.iter().map(|segment| match segment {
            Segment::Name(name) => Some(name.replace('-', "_").to_uppercase()),
            Segment::Index(_) => None,
        });
        let names: Vec<String> = names.collect::<Option<_>>()?;
        (names.len() <= 3).then(|| format!("CAUSERIE_{}", names.join("_")))
    }

    fn then(&self, segment: Segment) -> Key {
        Key(self.0.iter().cloned().chain([segment]).collect())
    }
}

/// For keys that stand in this program: their names hold no dots.
impl From<&str> for Key {
    fn from(text: &str) -> Key {
        Key(text.split('.').map(|name| Segment::Name(name.to_owned())).collect())
    }
}

/// As it would stand in the file: `providers.openai.models."gpt-4.1".input_price`.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Name(name) => {
                    let bare = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
                    let quote = if bare && !name.is_empty() { "" } else { "\"" };
                    let dot = if at == 0 { "" } else { "." };
                    write!(f, "{dot}{quote}{}{quote}", name.escape_debug())?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_dots_stay_one_name() {
        let models = Key::from("providers.openai.models");
        let price = models.name("gpt-4.1/x").name("input_price");
        assert_eq!(price.to_string(), "providers.openai.models.\"gpt-4.1/x\".input_price");
        assert_eq!(price.name_in(&models), None);
        assert_eq!(models.name("a.b").name_in(&models), Some("a.b"));
        assert_ne!(models.name("a.b"), models.name("a").name("b"));
        assert_eq!(Key::from("budgets").index(1).name("name").to_string(), "budgets[1].name");
    }

    #[test]
    fn only_what_stands_at_most_three_deep_has_a_variable() {
        let openai = Key::from("providers.open-ai");
        assert_eq!(openai.name("key_env").variable().as_deref(), Some("CAUSERIE_PROVIDERS_OPEN_AI_KEY_ENV"));
        assert_eq!(openai.name("models").name("m").name("input_price").variable(), None);
        assert_eq!(Key::from("budgets").index(0).variable(), None);
    }
}
