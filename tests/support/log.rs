//! The log of this process, as an operator would read it.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, OnceLock};

use serde_json::Value;
use tracing_subscriber::fmt::MakeWriter;

/// What all tests of this process log. A subscriber of one thread would miss lines: tracing decides once for the process
/// whether a line is wanted, and may ask a thread that wants none.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// The log, from the first call of this on.
    pub(crate) fn listen() -> &'static Self {
        static LOG: OnceLock<Log> = OnceLock::new();
        LOG.get_or_init(|| {
            let log = Self::default();
            tracing_subscriber::fmt().json().with_env_filter("causerie=trace,info").with_writer(log.clone()).init();
            log
        })
    }

    /// The lines of finished calls whose request id begins with `ids`, as (method, request id, code).
    pub(crate) fn calls(&self, ids: &str) -> Vec<(String, String, String)> {
        self.lines(ids)
            .iter()
            .filter(|line| line["fields"]["message"] == "rpc finished")
            .map(|line| {
                assert!(line["fields"]["duration_ms"].is_f64(), "{line}");
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let code = text(&line["fields"]["code"]);
                let span = &line["span"];
                (text(&span["method"]), text(&span["request_id"]), code)
            })
            .collect()
    }

    /// The lines of calls whose request id begins with `ids`.
    pub(crate) fn lines(&self, ids: &str) -> Vec<Value> {
        self.text()
            .lines()
            .filter(|line| line.contains(ids))
            .map(|line| serde_json::from_str::<Value>(line).expect("a JSON line"))
            .filter(|line| {
                let id = line["span"]["request_id"].as_str();
                id.is_some_and(|id| id.starts_with(ids))
            })
            .collect()
    }

    /// All of it.
    pub(crate) fn text(&self) -> String {
        let bytes = self.0.lock().expect("no panic").clone();
        String::from_utf8(bytes).expect("text")
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
