//! Secrets that tools send and callbacks are signed with: where they come from, and whom they are for.

use std::{collections::BTreeMap, fs, path::PathBuf};

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{api_key::ApiKey, key::Key, reader::Reader, rule::Rule, section::Section, source::Origin};

/// The shortest that can be hidden in what comes back.
const SHORTEST: usize = 8;

/// A secret that the headers of tools may name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolSecret {
    /// Where it comes from.
    pub value: SecretSource,
    /// The hosts that it may be sent to, each perhaps with a port. At least one.
    pub hosts: Vec<String>,
}

/// Where a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// This environment variable should hold it, but did not when the configuration was read: tools that need it fail.
    Missing(String),
    /// It stood in the environment when the configuration was read. 8 to 4,096 visible ASCII characters.
    Value(ApiKey),
    /// It stands in this file, which held a good one when the configuration was read. A file that changes counts at once.
    File(PathBuf),
}

impl ToolSecret {
    /// Those of `tools.secrets`, by name.
    pub(super) fn read_all(from: &mut Reader<'_>) -> BTreeMap<String, ToolSecret> {
        let all = Key::from("tools.secrets");
        let mut secrets = BTreeMap::new();
        for name in from.sections_in(&all) {
            let key = all.name(&name);
            if let Err(why) = Rule::tool().parse(&name) {
                from.reject(&key, format!("is no name of a secret; it {why}"));
            }
            if let Some(secret) = ToolSecret::read(&mut from.named(key)) {
                secrets.insert(name, secret);
            }
        }
        secrets
    }

    /// None after a fault that leaves it without a source.
    fn read(section: &mut Section<'_, '_>) -> Option<ToolSecret> {
        let variable = section.optional("value_env", Rule::key_variable(), "The environment variable that holds it.");
        let file =
            section.optional("value_file", Rule::path().hidden(), "A file with it. A changed file counts at once.");
        let hosts = section.list("hosts", Rule::host(), "The hosts that it may be sent to.").unwrap_or_default();
        let key = section.key().clone();
        if !section.names("hosts") || hosts.is_empty() {
            let text = "must name the hosts that it may be sent to: hosts = [\"api.example.com\"]";
            section.reader().reject(&key, text);
        }
        match (section.names("value_env"), section.names("value_file")) {
            (true, true) => section.reject("value_file", "cannot be set beside value_env: a secret has one source"),
            (false, false) => section.reader().reject(&key, "has no value: set value_env or value_file"),
            (true, false) | (false, true) => {}
        }
        let value = match (variable, file) {
            (Some(name), _) => of_variable(section, name, parse),
            (None, Some(path)) => of_file(section, "value_file", path, parse),
            (None, None) => return None,
        };
        Some(ToolSecret { value, hosts })
    }
}

impl SecretSource {
    /// What callbacks are signed with, if anything is named: `whsec_` and the base64 of 24 to 64 bytes.
    pub(super) fn read_callback_secret(section: &mut Section<'_, '_>) -> Option<SecretSource> {
        let variable = section.optional(
            "callback_secret_env",
            Rule::key_variable(),
            "The environment variable that holds what callbacks of turns (callback_url) are signed with: whsec_ and the base64 of \
             24 to 64 bytes. Without it such turns are refused.",
        );
        let file = section.optional(
            "callback_secret_file",
            Rule::path().hidden(),
            "A file with it, instead. A changed file counts at once.",
        );
        if section.names("callback_secret_env") && section.names("callback_secret_file") {
            section.reject("callback_secret_file", "cannot be set beside webhooks.callback_secret_env");
        }
        match (variable, file) {
            (Some(name), _) => Some(of_variable(section, name, parse_signing)),
            (None, Some(path)) => Some(of_file(section, "callback_secret_file", path, parse_signing)),
            (None, None) => None,
        }
    }
}

type Parse = fn(&str) -> Result<ApiKey, &'static str>;

fn of_variable(section: &mut Section<'_, '_>, name: String, parse: Parse) -> SecretSource {
    let Some(text) = section.reader().variable(&name) else { return SecretSource::Missing(name) };
    match parse(text) {
        Ok(secret) => SecretSource::Value(secret),
        Err(why) => {
            section.reader().reject_at(Origin::Variable(name.clone()), why);
            SecretSource::Missing(name)
        }
    }
}

fn of_file(section: &mut Section<'_, '_>, setting: &str, path: PathBuf, parse: Parse) -> SecretSource {
    let secret = match fs::read_to_string(&path) {
        Ok(text) => parse(&text).map(drop).map_err(str::to_owned),
        Err(error) => Err(format!("must name a file that holds the secret and can be read ({error})")),
    };
    if let Err(text) = secret {
        section.reject(setting, text);
    }
    SecretSource::File(path)
}

fn parse(text: &str) -> Result<ApiKey, &'static str> {
    let secret = ApiKey::parse(text)?;
    if secret.expose().len() < SHORTEST {
        return Err(
            "must hold a secret of at least 8 characters: a shorter one could not be hidden in what comes back",
        );
    }
    Ok(secret)
}

/// As the Standard Webhooks scheme has its symmetric keys.
fn parse_signing(text: &str) -> Result<ApiKey, &'static str> {
    let secret = ApiKey::parse(text)?;
    let key = secret.expose().strip_prefix("whsec_").and_then(|key| STANDARD.decode(key).ok());
    match key {
        Some(key) if (24..=64).contains(&key.len()) => Ok(secret),
        Some(_) | None => Err(
            "must hold whsec_ and the base64 of 24 to 64 bytes, such as `echo whsec_$(openssl rand -base64 32)` makes",
        ),
    }
}
