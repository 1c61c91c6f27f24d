//! Recorded shapes of answers, decoded however the network cuts them. `UPDATE_GOLDEN=1` writes the expected pieces anew.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use super::Answer;
use crate::{
    domain::Failure,
    upstream::{
        origin::Origin,
        sse::{Decoder, TooLong},
    },
};

const LONGEST: usize = 1 << 20;

fn answer(continued: Option<String>, max_output_bytes: usize) -> Answer {
    let origin = Origin {
        provider: "mistral".into(),
        host: "api.mistral.ai".into(),
        http_status: Some(200),
        correlation_id: None,
    };
    Answer::new(origin, continued, max_output_bytes)
}

struct Failed(Failure);

impl From<TooLong> for Failed {
    fn from(_: TooLong) -> Failed {
        panic!("the recorded streams are short")
    }
}

fn streamed(parts: &[&[u8]], continued: Option<String>) -> String {
    let mut answer = answer(continued, LONGEST);
    let mut decoder = Decoder::default();
    let mut read = || {
        for part in parts {
            decoder.push(part, LONGEST, |data| answer.take_event(data).map_err(Failed))?;
        }
        decoder.finish(|data| answer.take_event(data).map_err(Failed))?;
        answer.end().map_err(Failed)
    };
    let end = read();
    told(answer, end.map_err(|Failed(failure)| failure))
}

fn whole(body: &[u8], continued: Option<String>) -> String {
    let mut answer = answer(continued, LONGEST);
    let end = answer.take_whole(body).and_then(|()| answer.end());
    told(answer, end)
}

/// One line for each piece, and one for the error.
fn told(mut answer: Answer, end: Result<(), Failure>) -> String {
    let mut lines = String::new();
    while let Some(piece) = answer.pop() {
        writeln!(lines, "{piece:?}").expect("a string takes any text");
    }
    if let Err(failure) = end {
        writeln!(lines, "{:?}: {} {:?}", failure.reason, failure.message, failure.metadata)
            .expect("a string takes any text");
    }
    lines
}

/// The recorded answers with this file ending: name, bytes, and the text that the model was asked to continue.
fn recorded(ending: &str) -> Vec<(PathBuf, Vec<u8>, Option<String>)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/mistral/responses");
    let paths = fs::read_dir(folder).expect("the golden folder").map(|entry| entry.expect("an entry").path());
    let mut found: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == ending))
        .map(|path| {
            let continued = fs::read_to_string(path.with_extension("prefix")).ok();
            (path.clone(), fs::read(&path).expect("a golden file"), continued)
        })
        .collect();
    found.sort();
    assert!(!found.is_empty(), "no golden files in {folder}");
    found
}

fn compare(path: &Path, found: &str) {
    let expected = PathBuf::from(format!("{}.pieces", path.display()));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&expected, found).expect("the golden folder can be written");
    }
    assert_eq!(found, fs::read_to_string(&expected).unwrap_or_default(), "{}", path.display());
    assert!(!found.contains("secret"), "content of a broken answer is told: {found}");
}

#[test]
fn whole_answers() {
    for (path, body, continued) in recorded("json") {
        compare(&path, &whole(&body, continued));
    }
}

#[test]
fn streams_at_every_split() {
    for (path, stream, continued) in recorded("sse") {
        let expected = streamed(&[&stream], continued.clone());
        compare(&path, &expected);
        for cut in 1..stream.len() {
            let (before, after) = stream.split_at(cut);
            assert_eq!(streamed(&[before, after], continued.clone()), expected, "{} cut at {cut}", path.display());
        }
        let single: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(streamed(&single, continued.clone()), expected, "{} byte by byte", path.display());
    }
}

#[test]
fn an_answer_has_a_limit() {
    let event = br#"{"choices":[{"delta":{"content":"123456"}}]}"#;
    let mut answer = answer(None, 10);
    assert_eq!(answer.take_event(event), Ok(()));
    let failure = answer.take_event(event).expect_err("twelve bytes are too many");
    assert_eq!(failure.message, "mistral's answer is not usable: it is longer than 10 bytes");
}
