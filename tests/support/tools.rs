//! HTTP tools and names that a test makes up.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::{Arc, Mutex},
};

use causerie::{
    domain::{
        Chunk,
        tool::{CallTerms, HttpRequest, HttpRequestSpec, ToolOutcome},
    },
    tools::{
        http::{HttpOptions, HttpTools},
        net::{Addresses, AllowList, Lookup},
    },
};
use serde_json::Value;

/// Names and their addresses. Each look-up of a name takes the next of its answers; the last one stays.
#[derive(Default)]
pub(crate) struct Names {
    answers: Mutex<HashMap<String, VecDeque<Vec<IpAddr>>>>,
    asked: Mutex<Vec<String>>,
}

impl Names {
    /// Names that have these answers, one after the other; addresses are separated by blanks.
    pub(crate) fn new(names: &[(&str, &[&str])]) -> Arc<Names> {
        let parse = |text: &&str| text.split_whitespace().map(|ip| ip.parse().expect(ip)).collect();
        let answers = names.iter().map(|(name, answers)| (name.to_string(), answers.iter().map(parse).collect()));
        Arc::new(Names { answers: Mutex::new(answers.collect()), asked: Mutex::default() })
    }

    /// What was looked up so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no thread panics here").clone()
    }
}

impl Lookup for Names {
    fn lookup(&self, host: &str) -> Addresses {
        self.asked.lock().expect("no thread panics here").push(host.to_owned());
        let mut answers = self.answers.lock().expect("no thread panics here");
        let found = match answers.get_mut(host.trim_end_matches('.')) {
            Some(answers) if answers.len() > 1 => answers.pop_front(),
            Some(answers) => answers.front().cloned(),
            None => None,
        };
        Box::pin(async move { found.ok_or_else(|| std::io::Error::other("there is no such name")) })
    }
}

/// Options with these exceptions and names.
pub(crate) fn options(allow: &[&str], names: Arc<Names>) -> HttpOptions {
    let mut list = AllowList::default();
    allow.iter().for_each(|entry| list.add(entry).expect("an entry"));
    HttpOptions { allow: list, lookup: names, ..HttpOptions::default() }
}

/// Tools with these exceptions, and no names but these.
pub(crate) fn tools(allow: &[&str], names: Arc<Names>) -> HttpTools {
    HttpTools::new(options(allow, names)).expect("nothing is declared")
}

/// What is sent, without headers and parameters.
pub(crate) fn spec(method: &str, url: &str) -> HttpRequestSpec {
    HttpRequestSpec {
        description: String::new(),
        method: method.to_owned(),
        url: url.to_owned(),
        headers: Vec::new(),
        parameters: None,
        timeout_ms: 0,
        max_response_bytes: 0,
    }
}

/// The same with the schema of its arguments.
pub(crate) fn with_parameters(spec: HttpRequestSpec, parameters: &Value) -> HttpRequestSpec {
    HttpRequestSpec { parameters: parameters.as_object().cloned(), ..spec }
}

/// The same with a header more.
pub(crate) fn with_header(mut spec: HttpRequestSpec, name: &str, value: &str) -> HttpRequestSpec {
    spec.headers.push((name.to_owned(), value.to_owned()));
    spec
}

/// A tool, declared by a caller or else by the configuration.
pub(crate) fn request(declared: Option<HttpRequestSpec>) -> HttpRequest {
    HttpRequest { name: "tool".to_owned(), declared, requires_confirmation: false, terms: CallTerms::default() }
}

/// Gets this address.
pub(crate) async fn get(tools: &HttpTools, url: &str) -> ToolOutcome {
    tools.call(&request(Some(spec("GET", url))), "").await
}

/// The text of a call that went well.
pub(crate) fn text(outcome: &ToolOutcome) -> &str {
    assert_eq!(outcome.error, None);
    match outcome.content.as_slice() {
        [Chunk::Text(text)] => text,
        other => panic!("{other:?} is no text"),
    }
}

/// Why a call failed.
pub(crate) fn error(outcome: &ToolOutcome) -> &str {
    assert_eq!(outcome.content, []);
    outcome.error.as_deref().expect("the call failed")
}
