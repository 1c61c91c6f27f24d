//! Callers of turns that use tools, and callers that do by themselves what the service does for them.

use std::{fmt::Write, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use causerie::proto::{HttpRequestTool, StartRequest, Tool, tool};
use futures_util::future::try_join_all;
use prost_types::{ListValue, Struct, Value as ProtoValue, value::Kind};
use serde_json::{Value, json};

use super::{
    Caller, Meter,
    direct::Direct,
    grpc::{self, Client},
};
use crate::{
    Result, text,
    tooling::{self, Use},
};

/// Asks the service for first turns.
#[derive(Debug)]
pub(crate) struct Turns {
    client: Client,
    request: StartRequest,
}

/// Asks the provider and the tool.
#[derive(Debug, Clone)]
pub(crate) struct Exchanges {
    provider: Direct,
    tool: Direct,
    /// What the provider is sent, one after the other.
    bodies: Arc<[Bytes]>,
    /// What the tool is asked between two of them.
    queries: Arc<[Vec<String>]>,
}

/// Callers of turns that use this tool so.
pub(crate) async fn turns(uri: &str, callers: usize, tool: SocketAddr, of: Use) -> Result<Vec<Turns>> {
    let question = text::words(2, text::QUESTION_BYTES);
    let tools = if of.rounds == 0 { Vec::new() } else { vec![declared(tool)] };
    let request = StartRequest { model: of.model(), tools, ..grpc::start(question) };
    let clients = grpc::clients(uri, callers).await?.into_iter();
    Ok(clients.map(|client| Turns { client, request: request.clone() }).collect())
}

impl Turns {
    /// Asks once and gives the answer's text.
    pub(crate) async fn ask(&mut self) -> Result<String> {
        let turn = grpc::completed(self.client.start(self.request.clone()).await?.into_inner())?;
        grpc::answer(&turn).map(str::to_owned).ok_or_else(|| "a turn without an answer".into())
    }
}

impl Exchanges {
    /// Of what these turns need.
    pub(crate) fn new(provider: Direct, tool: Direct, of: Use) -> Exchanges {
        let queries = (1..=of.rounds).map(|round| (0..of.calls).map(|call| tooling::query(call, round)).collect());
        Exchanges { provider, tool, bodies: bodies(of).into(), queries: queries.collect() }
    }

    /// So many callers.
    pub(crate) fn callers(&self, callers: usize) -> Vec<Exchanges> {
        vec![self.clone(); callers]
    }

    /// Asks all there is to ask and gives the last answer.
    pub(crate) async fn ask(&self) -> Result<Bytes> {
        let mut answer = self.provider.ask(self.bodies[0].clone()).await?;
        for (queries, body) in self.queries.iter().zip(&self.bodies[1..]) {
            match queries.as_slice() {
                [query] => drop(self.tool.get(query).await?),
                queries => drop(try_join_all(queries.iter().map(|query| self.tool.get(query))).await?),
            }
            answer = self.provider.ask(body.clone()).await?;
        }
        Ok(answer)
    }
}

impl Caller for Turns {
    async fn call(&mut self, meter: &Meter) -> Result<Option<Duration>> {
        self.ask().await?;
        meter.add(1);
        Ok(None)
    }
}

impl Caller for Exchanges {
    async fn call(&mut self, meter: &Meter) -> Result<Option<Duration>> {
        self.ask().await?;
        meter.add(1);
        Ok(None)
    }
}

/// A tool that the caller declares: nothing of it is known to the service before the turn.
fn declared(tool: SocketAddr) -> Tool {
    let Kind::StructValue(parameters) = proto(tooling::parameters()) else {
        unreachable!("the schema is an object");
    };
    let request = HttpRequestTool {
        name: tooling::TOOL.to_owned(),
        description: tooling::DESCRIPTION.to_owned(),
        url: format!("http://{tool}/"),
        parameters: Some(parameters),
        ..HttpRequestTool::default()
    };
    Tool { kind: Some(tool::Kind::HttpRequest(request)) }
}

fn proto(value: Value) -> Kind {
    let value_of = |value| ProtoValue { kind: Some(proto(value)) };
    match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(value) => Kind::BoolValue(value),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Value::String(text) => Kind::StringValue(text),
        Value::Array(items) => Kind::ListValue(ListValue { values: items.into_iter().map(value_of).collect() }),
        Value::Object(fields) => Kind::StructValue(Struct {
            fields: fields.into_iter().map(|(name, value)| (name, value_of(value))).collect(),
        }),
    }
}

/// What the service sends in such a turn, the same bytes but for the ids of calls.
fn bodies(of: Use) -> Vec<Bytes> {
    let (question, told) = (text::words(2, text::QUESTION_BYTES), text::words(3, tooling::RESULT_BYTES));
    let mut messages = json!({"role": "user", "content": question}).to_string();
    let mut bodies = vec![body(of, &messages)];
    for round in 1..=of.rounds {
        let id = |call| format!("call{round:02}{call:03}");
        let calls: Vec<Value> = (0..of.calls)
            .map(|call| {
                let function = json!({"name": tooling::TOOL, "arguments": tooling::arguments(call, round)});
                json!({"id": id(call), "type": "function", "function": function})
            })
            .collect();
        let asked = json!({"role": "assistant", "content": null, "tool_calls": calls});
        write!(messages, ",{asked}").expect("a String takes all");
        for call in 0..of.calls {
            let content = tooling::result(&told, round);
            let result = json!({"role": "tool", "tool_call_id": id(call), "name": tooling::TOOL, "content": content});
            write!(messages, ",{result}").expect("a String takes all");
        }
        bodies.push(body(of, &messages));
    }
    bodies
}

fn body(of: Use, messages: &str) -> Bytes {
    let model = of.model();
    let tools = if of.rounds == 0 {
        String::new()
    } else {
        let (name, description, parameters) = (tooling::TOOL, tooling::DESCRIPTION, tooling::parameters());
        let function = json!({"name": name, "description": description, "parameters": parameters});
        format!("\"tools\":{},", json!([{"type": "function", "function": function}]))
    };
    format!("{{\"model\":\"{model}\",{tools}\"messages\":[{messages}]}}").into()
}
