//! A provider client for the tests, and requests for it.

use std::{collections::BTreeMap, time::Duration};

use causerie::{
    domain::Settings,
    upstream::{
        Completion, Dialect, Fault, KeyHeader, KeySource, Options, Piece, Provider, Request, Secret, Transcript,
    },
};

/// Options that a test changes where it needs to. Nothing in them runs out within a healthy test.
pub(crate) fn options(base_url: &str) -> Options {
    Options {
        name: "mistral".to_owned(),
        dialect: Dialect::Mistral,
        max_tokens_field: None,
        base_url: base_url.to_owned(),
        key: KeySource::Value(Secret::new("sk-of-the-test")),
        key_place: "MISTRAL_API_KEY or providers.mistral.key_file".to_owned(),
        key_header: KeyHeader::Bearer,
        headers: Vec::new(),
        connector_secrets: BTreeMap::new(),
        connect_timeout: Duration::from_secs(10),
        first_byte_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(10),
        whole_answer_timeout: Duration::from_secs(10),
        max_output_bytes: 2 << 20,
    }
}

pub(crate) fn provider(base_url: &str) -> Provider {
    Provider::new(options(base_url)).expect("the options are right")
}

/// The same of OpenAI's dialect.
pub(crate) fn openai_options(base_url: &str) -> Options {
    Options { name: "openai".to_owned(), dialect: Dialect::OpenAi, ..options(base_url) }
}

pub(crate) fn openai(base_url: &str) -> Provider {
    Provider::new(openai_options(base_url)).expect("the options are right")
}

pub(crate) fn settings() -> Settings {
    Settings { model: "mistral-small-latest".to_owned(), ..Settings::default() }
}

/// A streamed request.
pub(crate) fn request<'a>(settings: &'a Settings, transcript: &'a Transcript) -> Request<'a> {
    Request {
        settings,
        model: &settings.model,
        transcript,
        stream: true,
        continue_last: false,
        max_tokens: None,
        key: None,
        hosted: None,
    }
}

/// Reads an answer to its end.
pub(crate) async fn read(mut completion: Completion) -> (Vec<Piece>, Option<Fault>) {
    let mut pieces = Vec::new();
    while let Some(next) = completion.next().await {
        match next {
            Ok(piece) => pieces.push(piece),
            Err(fault) => {
                assert!(completion.next().await.is_none(), "nothing comes after an error");
                return (pieces, Some(fault));
            }
        }
    }
    assert!(completion.next().await.is_none(), "the end stays the end");
    (pieces, None)
}

/// All text of an answer.
pub(crate) fn said(pieces: &[Piece]) -> String {
    let texts =
        pieces.iter().filter_map(|piece| if let Piece::Text(text) = piece { Some(text.as_str()) } else { None });
    texts.collect()
}
