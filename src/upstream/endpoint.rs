//! The addresses of a provider, from what the operator calls its base URL.

use reqwest::Url;

use super::OptionsError;

const CHAT: &str = "/chat/completions";
const CONVERSATIONS: &str = "/conversations";

/// Where a provider is asked.
#[derive(Debug)]
pub(super) struct Endpoint {
    /// Chat completions.
    pub(super) chat: Url,
    /// Conversations, if the provider has them; `None`: the base URL is the whole address of chat completions.
    pub(super) conversations: Option<Url>,
    /// The list of its models.
    pub(super) models: Url,
}

impl Endpoint {
    /// A base URL that ends in `/chat/completions` is the whole address and may have a query, as Azure's has. Otherwise that is
    /// added, with `/v1` before it unless the path ends in a version already.
    pub(super) fn parse(base_url: &str) -> Result<Endpoint, OptionsError> {
        // The URL itself is not repeated: it may hold a password.
        let wrong = |what: &str| OptionsError(format!("base URL {what}"));
        let mut chat = Url::parse(base_url).map_err(|error| wrong(&format!("can't be read: {error}")))?;
        if !matches!(chat.scheme(), "http" | "https") {
            return Err(wrong("must begin with https:// or http://"));
        }
        if !chat.username().is_empty() || chat.password().is_some() || chat.fragment().is_some() {
            return Err(wrong("must not hold a user name, password or fragment; the key has its own option"));
        }
        let path = chat.path().trim_end_matches('/').to_owned();
        let is_whole = path.ends_with(CHAT);
        let root = match path.strip_suffix(CHAT) {
            Some(root) => root.to_owned(),
            None if chat.query().is_some() => {
                return Err(wrong(
                    "may have a query only if its path ends in /chat/completions; the key has its own option",
                ));
            }
            None if ends_in_version(&path) => path,
            None => format!("{path}/v1"),
        };
        let mut models = chat.clone();
        let mut conversations = (!is_whole).then(|| chat.clone());
        chat.set_path(&format!("{root}{CHAT}"));
        if let Some(conversations) = &mut conversations {
            conversations.set_path(&format!("{root}{CONVERSATIONS}"));
        }
        models.set_path(&format!("{}/models", without_deployment(&root)));
        Ok(Endpoint { chat, conversations, models })
    }

    /// Host and port, as in the base URL.
    pub(super) fn host(&self) -> String {
        match (self.chat.host_str(), self.chat.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (host, _) => host.unwrap_or_default().to_owned(),
        }
    }
}

/// `/v1`, `/openai/v1`, `/api/paas/v4`; or `/v1beta/openai`, which is Google's.
fn ends_in_version(path: &str) -> bool {
    let mut segments = path.rsplit('/');
    match segments.next() {
        Some("openai") => segments.next().is_some_and(is_version),
        Some(last) => is_version(last),
        None => false,
    }
}

fn is_version(segment: &str) -> bool {
    let after = segment.strip_prefix('v').unwrap_or_default();
    after.starts_with(|c: char| c.is_ascii_digit()) && after.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Azure's older addresses name the deployment; its models are listed beside them.
fn without_deployment(root: &str) -> &str {
    match root.rsplit_once('/') {
        Some((before, _)) => before.strip_suffix("/deployments").unwrap_or(root),
        None => root,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_base_url_leads_to_two_addresses() {
        let azure = "https://x.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-10-21";
        let rows = [
            (
                "https://api.mistral.ai",
                "https://api.mistral.ai/v1/chat/completions",
                "https://api.mistral.ai/v1/models",
            ),
            ("http://[::1]:1/", "http://[::1]:1/v1/chat/completions", "http://[::1]:1/v1/models"),
            ("http://h/v1", "http://h/v1/chat/completions", "http://h/v1/models"),
            ("http://h/v1/", "http://h/v1/chat/completions", "http://h/v1/models"),
            ("http://h/openai/v1", "http://h/openai/v1/chat/completions", "http://h/openai/v1/models"),
            ("http://h/api/v1", "http://h/api/v1/chat/completions", "http://h/api/v1/models"),
            ("http://h/v1beta/openai/", "http://h/v1beta/openai/chat/completions", "http://h/v1beta/openai/models"),
            ("http://h/api/paas/v4", "http://h/api/paas/v4/chat/completions", "http://h/api/paas/v4/models"),
            ("http://h/openai", "http://h/openai/v1/chat/completions", "http://h/openai/v1/models"),
            ("http://h/team", "http://h/team/v1/chat/completions", "http://h/team/v1/models"),
            ("http://h/vault", "http://h/vault/v1/chat/completions", "http://h/vault/v1/models"),
            ("http://h/chat/completions", "http://h/chat/completions", "http://h/models"),
            ("http://h/v3/chat/completions?a=b", "http://h/v3/chat/completions?a=b", "http://h/v3/models?a=b"),
            (azure, azure, "https://x.openai.azure.com/openai/models?api-version=2024-10-21"),
        ];
        for (base_url, chat, models) in rows {
            let endpoint = Endpoint::parse(base_url).expect(base_url);
            assert_eq!((endpoint.chat.as_str(), endpoint.models.as_str()), (chat, models), "{base_url}");
        }
        assert_eq!(Endpoint::parse("http://h:81/v1").expect("right").host(), "h:81");
    }

    #[test]
    fn conversations_are_beside_chat_completions_unless_those_are_the_whole_address() {
        for (base_url, conversations) in [
            ("https://api.mistral.ai", Some("https://api.mistral.ai/v1/conversations")),
            ("http://h/team/v1/", Some("http://h/team/v1/conversations")),
            ("http://h/v1/chat/completions", None),
        ] {
            let endpoint = Endpoint::parse(base_url).expect(base_url);
            assert_eq!(endpoint.conversations.as_ref().map(Url::as_str), conversations, "{base_url}");
        }
    }

    #[test]
    fn what_can_t_be_an_address_is_refused_and_not_repeated() {
        let rows = [
            "",
            "hidden.example",
            "ftp://hidden.example",
            "https://hidden@h",
            "https://u:hidden@h/v1",
            "https://h?key=hidden",
            "https://h/v1?key=hidden",
            "https://h/chat/completions#hidden",
        ];
        for base_url in rows {
            let error = Endpoint::parse(base_url).expect_err(base_url).to_string();
            assert!(error.starts_with("base URL ") && !error.contains("hidden"), "{error}");
        }
    }
}
