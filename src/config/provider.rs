use std::{collections::BTreeMap, ops::RangeInclusive, time::Duration};

use http::{HeaderMap, HeaderName};

use super::{
    api_key::KeySource, key::Key, model::Model, problem::nearest, reader::Reader, rule::Rule, section::Section,
};

/// The provider that is there without a section of its own.
pub(super) const BUILT_IN: &str = "mistral";
pub(super) const PER_MINUTE: RangeInclusive<u64> = 1..=10_000_000;
pub(super) const TOKENS_PER_MINUTE: RangeInclusive<u64> = 1..=1_000_000_000_000;

/// Who answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// 1 to 32 of a-z, 0-9 and -. No two providers have the same.
    pub name: String,
    /// How it wants to be asked.
    pub dialect: Dialect,
    /// The field of max_tokens, if not the dialect's own.
    pub max_tokens_field: Option<MaxTokensField>,
    /// `http` or `https`, a host and perhaps a path, without a slash at the end. If the path ends in `/chat/completions`, it is
    /// asked as it is, perhaps with a query; else that is added, after `/v1` unless the path ends in it already.
    pub base_url: String,
    /// Where its key comes from.
    pub key: KeySource,
    /// How the key is sent.
    pub key_header: KeyHeader,
    /// Whether callers may bring a key of their own, in the metadata `x-provider-api-key`.
    pub caller_keys: bool,
    /// What is sent with every call, beside what the program sends by itself. The values are marked as sensitive.
    pub headers: HeaderMap,
    /// The longest that making a connection may take.
    pub connect_timeout: Duration,
    /// The longest wait for the first byte of an answer that is streamed, its head not counted.
    pub first_byte_timeout: Duration,
    /// The longest silence between two pieces of an answer, once it has begun.
    pub idle_timeout: Duration,
    /// The longest wait for an answer that is not streamed.
    pub answer_timeout: Duration,
    /// How many calls may run at once.
    pub max_concurrent: usize,
    /// How many turns may wait for a place or for a rate limit; more are refused.
    pub max_waiting: usize,
    /// How many calls a minute each of its models may get, if it says nothing else.
    pub requests_per_minute: Option<u32>,
    /// How many tokens a minute, read and written, each of its models may get, if it says nothing else.
    pub tokens_per_minute: Option<u64>,
    /// What is set about its models, by the name that the provider gives them.
    pub models: BTreeMap<String, Model>,
}

/// How a provider speaks chat completions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// As Mistral does.
    Mistral,
    /// As OpenAI does, and most others.
    OpenAi,
}

/// The field that bounds an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxTokensField {
    /// `max_tokens`.
    MaxTokens,
    /// `max_completion_tokens`, which Mistral refuses.
    MaxCompletionTokens,
}

/// How a key is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyHeader {
    /// `authorization: Bearer …`.
    Bearer,
    /// `api-key: …`, as Azure wants it.
    ApiKey,
    /// Not at all.
    None,
}

/// What differs between the built-in provider and one with a section of its own, if nothing is set.
struct Defaults {
    dialect: &'static str,
    base_url: Option<&'static str>,
    key_env: Option<&'static str>,
}

impl Provider {
    /// The built-in one, then all others by their names.
    pub(super) fn read_all(from: &mut Reader<'_>) -> Vec<Provider> {
        let all = Key::from("providers");
        let others = from.sections_in(&all);
        let built_in = Defaults {
            dialect: "mistral",
            base_url: Some("https://api.mistral.ai"),
            // The name that Mistral's own clients use.
            key_env: Some("MISTRAL_API_KEY"),
        };
        let mut providers = vec![Provider::read(&mut from.documented(all.name(BUILT_IN)), BUILT_IN, &built_in)];
        let other = Defaults { dialect: "openai", base_url: None, key_env: None };
        for name in others.into_iter().filter(|name| name != BUILT_IN) {
            let key = all.name(&name);
            if let Err(why) = Rule::provider().parse(&name) {
                from.reject(&key, format!("is no name of a provider; it {why}"));
            }
            providers.push(Provider::read(&mut from.named(key), &name, &other));
        }
        providers
    }

    /// Continues a sentence about a setting that names a provider which is not there.
    pub(super) fn unknown(name: &str, providers: &[Provider]) -> String {
        let names: Vec<&str> = providers.iter().map(|provider| provider.name.as_str()).collect();
        let meant = match nearest(name, names.iter().copied()) {
            Some((meant, 1..=2)) => format!("; {meant} is"),
            Some(_) | None => format!("; there are: {}", names.join(", ")),
        };
        format!("is \"{name}\", which is not configured{meant}")
    }

    fn read(section: &mut Section<'_, '_>, name: &str, defaults: &Defaults) -> Provider {
        let dialect = section.get(
            "dialect",
            Rule::one_of(&[("mistral", Dialect::Mistral), ("openai", Dialect::OpenAi)]),
            defaults.dialect,
            "How the provider speaks chat completions: as Mistral does, or as OpenAI and most others.",
        );
        let max_tokens_field = max_tokens_field(section, dialect);
        let base_url = section.required(
            "base_url",
            Rule::base_url(),
            defaults.base_url,
            "Where chat completions are asked for; /v1/chat/completions is added to it, as far as it does not end in that.",
        );
        let key_header = section.get(
            "key_header",
            Rule::one_of(&[("bearer", KeyHeader::Bearer), ("api-key", KeyHeader::ApiKey), ("none", KeyHeader::None)]),
            "bearer",
            "How the key is sent: authorization: Bearer, or in the header api-key, as Azure wants it, or not at all.",
        );
        let caller_keys = section.get(
            "caller_keys",
            Rule::switch(),
            "false",
            "Let callers bring a key of their own in the metadata x-provider-api-key; it is used in place of the \
             configured one.",
        );
        let key = KeySource::read(section, defaults.key_env, key_header, caller_keys);
        let timeouts = Timeouts::read(section);
        let limits = Limits::read(section);
        Provider {
            name: name.to_owned(),
            dialect,
            max_tokens_field,
            // Left out: a fault, and nobody sees this.
            base_url: base_url.unwrap_or_default(),
            key,
            key_header,
            caller_keys,
            headers: headers(section, &OF_KEYS, "key_env, key_file or key_command"),
            connect_timeout: timeouts.connect,
            first_byte_timeout: timeouts.first_byte,
            idle_timeout: timeouts.idle,
            answer_timeout: timeouts.answer,
            max_concurrent: limits.max_concurrent,
            max_waiting: limits.max_waiting,
            requests_per_minute: limits.requests_per_minute,
            tokens_per_minute: limits.tokens_per_minute,
            models: Model::read_all(section),
        }
    }
}

fn max_tokens_field(section: &mut Section<'_, '_>, dialect: Dialect) -> Option<MaxTokensField> {
    const NAME: &str = "max_tokens_field";
    let field = section.optional(
        NAME,
        Rule::one_of(&[
            ("max_tokens", MaxTokensField::MaxTokens),
            ("max_completion_tokens", MaxTokensField::MaxCompletionTokens),
        ]),
        "The field that bounds an answer, if not the dialect's own: max_tokens of mistral, max_completion_tokens of openai. \
         Where a server does not know it, neither max_tokens nor a budget holds; Ollama knows max_tokens only.",
    );
    if (dialect, field) == (Dialect::Mistral, Some(MaxTokensField::MaxCompletionTokens)) {
        section.reject(NAME, "cannot be max_completion_tokens where dialect is mistral, which refuses that field");
    }
    field
}

struct Timeouts {
    connect: Duration,
    first_byte: Duration,
    idle: Duration,
    answer: Duration,
}

impl Timeouts {
    fn read(section: &mut Section<'_, '_>) -> Timeouts {
        Timeouts {
            connect: section.get(
                "connect_timeout",
                Rule::duration("100ms", "10m"),
                "10s",
                "The longest that making a connection to the provider may take.",
            ),
            first_byte: section.get(
                "first_byte_timeout",
                Rule::duration("1s", "10m"),
                "120s",
                "The longest wait for the first byte of an answer that is streamed. The head of the answer is none: some servers send it \
                 before the model has read the prompt.",
            ),
            idle: section.get(
                "idle_timeout",
                Rule::duration("1s", "10m"),
                "60s",
                "The longest silence between two pieces of an answer, once it has begun.",
            ),
            answer: section.get(
                "answer_timeout",
                Rule::duration("1s", "10m"),
                "5m",
                "The longest wait for an answer that is not streamed.",
            ),
        }
    }
}

struct Limits {
    max_concurrent: usize,
    max_waiting: usize,
    requests_per_minute: Option<u32>,
    tokens_per_minute: Option<u64>,
}

impl Limits {
    fn read(section: &mut Section<'_, '_>) -> Limits {
        Limits {
            max_concurrent: section.get(
                "max_concurrent",
                Rule::count(1..=100_000),
                "4096",
                "How many calls to the provider may run at once; more turns wait.",
            ),
            max_waiting: section.get(
                "max_waiting",
                Rule::count(0..=1_000_000),
                "1024",
                "How many turns may wait for a place or for a rate limit; more are refused.",
            ),
            requests_per_minute: section.optional(
                "requests_per_minute",
                Rule::count(PER_MINUTE),
                "How many calls a minute each of its models may get, unless the model's own section says something else.",
            ),
            tokens_per_minute: section.optional(
                "tokens_per_minute",
                Rule::count(TOKENS_PER_MINUTE),
                "How many tokens a minute, read and written, each of its models may get, unless the model's own section says something else.",
            ),
        }
    }
}

/// What frames a request is the program's.
const FRAMING: [&str; 8] =
    ["host", "content-type", "content-length", "transfer-encoding", "connection", "te", "upgrade", "accept"];
/// Those that carry a key have settings of their own.
const OF_KEYS: [&str; 4] = ["authorization", "api-key", "x-api-key", "x-provider-api-key"];

/// The table of headers that are sent with every request. Those of keys can't be set, which come from elsewhere.
pub(super) fn headers(section: &mut Section<'_, '_>, of_keys: &[&str], keys: &str) -> HeaderMap {
    let key = section.key().name("headers");
    let from = section.reader();
    let names = from.values_in(&key);
    let mut headers = HeaderMap::new();
    for name in names {
        let value = from.named(key.clone()).optional(&name, Rule::header(), "A header that is sent with every call.");
        let fault = match HeaderName::from_bytes(name.as_bytes()) {
            Err(_) => "is no name of a header".to_owned(),
            Ok(header) if [of_keys, &FRAMING].concat().contains(&header.as_str()) => {
                format!("cannot be set here: keys come from {keys}, and what frames a request is the program's")
            }
            Ok(header) if headers.contains_key(&header) => {
                "is set twice: capital letters make no difference".to_owned()
            }
            Ok(header) => {
                headers.extend(value.map(|value| (header, value)));
                continue;
            }
        };
        from.reject(&key.name(&name), fault);
    }
    headers
}
