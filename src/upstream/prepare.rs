//! What is settled of a request before it is sent: which endpoint is asked, whether it can be asked so, and the body.

use reqwest::Url;

use super::{Dialect, Failure, Form, HostedAgent, Provider, Request, Transcript, chat, conversations};
use crate::domain::{Reason, Settings};

/// A request, ready to be sent.
pub(super) struct Prepared<'a> {
    pub(super) url: &'a Url,
    pub(super) form: Form,
    pub(super) encoded: chat::Encoded,
}

impl Provider {
    /// Whether the provider can be asked with these settings, by a model or by an agent that it hosts. Fails with
    /// INVALID_REQUEST, and a violation for each field, if it can't.
    pub fn check_settings(&self, settings: &Settings, hosted: Option<HostedAgent<'_>>) -> Result<(), Failure> {
        match Form::of(&settings.tools, hosted.is_some()) {
            Form::Chat => self.inner.dialect.check_args(&settings.completion_args),
            Form::Conversations => {
                self.conversations(hosted.is_some())?;
                conversations::check(settings, hosted.is_some(), &self.inner.connector_secrets)
            }
        }
    }

    /// The address of its conversations.
    fn conversations(&self, hosted: bool) -> Result<&Url, Failure> {
        let inner = &*self.inner;
        let field = if hosted { "agent_id" } else { "tools" };
        let provider = &inner.origin.provider;
        let text = match (inner.dialect, &inner.endpoint.conversations) {
            (Dialect::Mistral, Some(url)) => return Ok(url),
            (Dialect::OpenAi, _) => {
                format!(
                    "asks for what only Mistral has, and {provider} speaks OpenAI's dialect: leave it out, or take a model of \
                     Mistral's"
                )
            }
            (Dialect::Mistral, None) => {
                let setting = inner.origin.setting("base_url");
                format!(
                    "asks for what chat completions lack, and no other address of {provider} is known: {setting} has to end before \
                     /chat/completions"
                )
            }
        };
        Err(Failure::invalid_field(field, text).with("provider", &**provider))
    }

    /// The body that [`Provider::complete`] sends. Fails as [`Provider::check_settings`] does, and with INTERNAL if the transcript
    /// is another provider's or endpoint's.
    pub fn body(&self, request: Request<'_>) -> Result<Vec<u8>, Failure> {
        Ok(self.prepare(&request)?.encoded.body)
    }

    pub(super) fn prepare(&self, request: &Request<'_>) -> Result<Prepared<'_>, Failure> {
        let transcript = request.transcript;
        self.require_own(transcript)?;
        self.check_settings(request.settings, request.hosted)?;
        let (inner, target) = (&*self.inner, transcript.target());
        let form = Form::of(&request.settings.tools, request.hosted.is_some());
        if transcript.form != form {
            let text = format!("a history encoded for {} was given to {}", transcript.form.name(), form.name());
            return Err(Failure::new(Reason::Internal, text));
        }
        let (url, encoded) = match form {
            Form::Chat => {
                let encoded = chat::encode(request, &transcript.messages, target, inner.max_tokens_field);
                (&inner.endpoint.chat, encoded)
            }
            Form::Conversations => {
                let url = self.conversations(request.hosted.is_some())?;
                (url, conversations::encode(request, &transcript.messages, target, &inner.connector_secrets))
            }
        };
        Ok(Prepared { url, form, encoded })
    }

    pub(super) fn require_own(&self, transcript: &Transcript) -> Result<(), Failure> {
        if transcript.is_of(self) {
            return Ok(());
        }
        let text = format!("a history encoded for {} was given to {}", transcript.provider, self.name());
        Err(Failure::new(Reason::Internal, text))
    }
}
