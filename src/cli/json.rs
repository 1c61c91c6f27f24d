//! Messages as text, in protobuf's JSON. Export records as lines of it: the same record is always the same line.

use std::fmt;

use prost::Message;

use crate::proto::{
    ExportRecord,
    json::{from_json, to_json},
};

const RECORD: &str = "causerie.v1.ExportRecord";

/// Why a line is no record, or a record no line.
#[derive(Debug)]
pub(super) struct JsonError {
    /// Where in the line, from 1; 0 if it is about the whole.
    pub(super) column: usize,
    text: String,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<serde_json::Error> for JsonError {
    fn from(error: serde_json::Error) -> JsonError {
        let position = format!(" at line {} column {}", error.line(), error.column());
        JsonError { column: error.column(), text: error.to_string().replace(&position, "") }
    }
}

/// A record as a line, without the line's end.
pub(super) fn to_line(record: &ExportRecord) -> Result<String, JsonError> {
    to_line_of(RECORD, record)
}

/// The message of this name as a line, without the line's end.
pub(super) fn to_line_of(name: &str, message: &impl Message) -> Result<String, JsonError> {
    Ok(to_json(name, message)?.to_string())
}

/// The record that a line holds.
pub(super) fn from_line(line: &str) -> Result<ExportRecord, JsonError> {
    Ok(from_text(RECORD, line)?)
}

/// The message of this name as JSON.
pub(super) fn to_value(name: &str, message: &impl Message) -> Result<serde_json::Value, JsonError> {
    Ok(to_json(name, message)?)
}

/// The message of this name as a person reads it, with the end of its last line.
pub(super) fn to_text(name: &str, message: &impl Message) -> Result<String, JsonError> {
    Ok(serde_json::to_string_pretty(&to_json(name, message)?)? + "\n")
}

/// The message of this name that a text holds.
pub(super) fn from_text<M: Message + Default>(name: &str, text: &str) -> Result<M, serde_json::Error> {
    let mut json = serde_json::Deserializer::from_str(text);
    let message = from_json(name, &mut json)?;
    json.end()?;
    Ok(message)
}

#[cfg(test)]
mod tests;
