//! Settings, and tools of every kind.

use causerie::domain::{
    Budget, Money, Settings, Tool,
    agent::AgentPin,
    settings::{CompletionArgs, ReasoningEffort, ResponseFormat, ToolChoice},
    tool::{
        CallTerms, Connector, ConnectorAuthorization, ConnectorKind, Function, HttpRequest, HttpRequestSpec,
        HumanHandoffTool, McpTools,
    },
};
use serde_json::{Map, Value, json};

use super::{super::random::Rng, Maker};

impl Maker {
    pub(in crate::store) fn settings(&mut self) -> Settings {
        let rng = &mut self.rng;
        let unit = |rng: &mut Rng| rng.next() as f64 / u64::MAX as f64;
        let completion_args = CompletionArgs {
            temperature: rng.maybe(unit),
            top_p: rng.maybe(unit),
            max_tokens: rng.maybe(|rng| rng.next() as u32),
            stop: (0..rng.below(3)).map(|i| format!("stop{i}")).collect(),
            random_seed: rng.maybe(Rng::next),
            presence_penalty: rng.maybe(unit),
            frequency_penalty: rng.maybe(unit),
            response_format: rng.maybe(|rng| match rng.below(3) {
                0 => ResponseFormat::Text,
                1 => ResponseFormat::JsonObject,
                _ => ResponseFormat::JsonSchema {
                    name: "form".into(),
                    description: String::new(),
                    schema: object(rng),
                    strict: rng.one_in(2),
                    check: rng.one_in(2),
                },
            }),
            tool_choice: rng.maybe(|rng| {
                let function = ToolChoice::Function("f".into());
                rng.pick(&[ToolChoice::Auto, ToolChoice::None, ToolChoice::Any, ToolChoice::Required, function]).clone()
            }),
            parallel_tool_calls: rng.maybe(|rng| rng.one_in(2)),
            prediction: rng.maybe(|_| "likely".to_owned()),
            reasoning_effort: rng.maybe(|rng| *rng.pick(&ReasoningEffort::ALL)),
            safe_prompt: rng.maybe(|rng| rng.one_in(2)),
            prompt_cache_key: if rng.one_in(2) { String::new() } else { "key".into() },
            prompt_mode: if rng.one_in(2) { String::new() } else { "reasoning".into() },
            service_tier: if rng.one_in(2) { String::new() } else { "auto".into() },
            min_tokens: rng.maybe(|rng| rng.next() as u32),
            repetition_penalty: rng.maybe(unit),
            top_k: rng.maybe(|rng| rng.next() as u32),
            guardrails: (0..rng.below(2)).map(|_| object(rng)).collect(),
        };
        let count = rng.below(4);
        let tools = (0..count).map(|_| self.tool()).collect();
        let rng = &mut self.rng;
        let pairs = ["user", "team"]
            .into_iter()
            .filter_map(|key| rng.maybe(|rng| (key.to_owned(), rng.pick(&["anna", "ben", ""]).to_string())));
        let metadata = pairs.collect();
        Settings {
            model: (*rng.pick(&["small", "large", ""])).to_owned(),
            agent_id: rng.maybe(|rng| (*rng.pick(&["agent_a", "agent_b"])).to_owned()),
            agent_pin: rng.maybe(|rng| match rng.below(2) {
                0 => AgentPin::Version(rng.next() as u32),
                _ => AgentPin::Alias((*rng.pick(&["production", ""])).to_owned()),
            }),
            instructions: self.text(8),
            tools,
            completion_args,
            metadata,
            tree_budget: self
                .rng
                .maybe(|rng| Budget { max_tokens: Some(rng.next()), max_cost: Some(Money::new(2, 5)) }),
        }
    }

    fn tool(&mut self) -> Tool {
        match self.rng.below(5) {
            0 => Tool::Function(Function {
                name: self.name(),
                description: self.text(3),
                parameters: self.rng.maybe(object),
                strict: self.rng.one_in(2),
            }),
            1 => Tool::Mcp(McpTools {
                server: self.name(),
                include: self.names(),
                exclude: self.names(),
                requires_confirmation: self.names(),
                terms: self.terms(),
            }),
            2 => Tool::HttpRequest(HttpRequest {
                name: self.name(),
                declared: if self.rng.one_in(3) { None } else { Some(self.request()) },
                requires_confirmation: self.rng.one_in(2),
                terms: self.terms(),
            }),
            3 => Tool::Connector(Connector {
                kind: self.connector(),
                include: self.names(),
                exclude: self.names(),
                requires_confirmation: self.names(),
            }),
            _ => Tool::HumanHandoff(HumanHandoffTool { description: self.text(3) }),
        }
    }

    fn request(&mut self) -> HttpRequestSpec {
        let header = |i| (format!("x-{i}"), self.text(2));
        let headers = (0..2).map(header).collect();
        HttpRequestSpec {
            description: self.text(3),
            method: (*self.rng.pick(&["GET", "POST"])).to_owned(),
            url: self.text(3),
            headers: if self.rng.one_in(2) { Vec::new() } else { headers },
            parameters: self.rng.maybe(object),
            timeout_ms: self.rng.next() as u32,
            max_response_bytes: self.rng.next() as u32,
        }
    }

    fn connector(&mut self) -> ConnectorKind {
        match self.rng.below(6) {
            0 => ConnectorKind::WebSearch,
            1 => ConnectorKind::WebSearchPremium,
            2 => ConnectorKind::CodeInterpreter,
            3 => ConnectorKind::ImageGeneration,
            4 => ConnectorKind::DocumentLibrary { library_ids: self.names() },
            _ => ConnectorKind::Custom {
                connector_id: self.name(),
                authorization: self
                    .rng
                    .maybe(|_| ConnectorAuthorization { kind: "api-key".into(), secret: "of_it".into() }),
            },
        }
    }

    fn names(&mut self) -> Vec<String> {
        (0..self.rng.below(3)).map(|_| self.name()).collect()
    }

    fn terms(&mut self) -> CallTerms {
        CallTerms { confirmation_ttl_s: self.rng.next() as u32, required: self.rng.one_in(2) }
    }
}

fn object(rng: &mut Rng) -> Map<String, Value> {
    let value = json!({ "z": { "b": [1, null, -2.5e-300, rng.next()] }, "a": f64::from_bits(0x3fb9_9999_9999_999a) });
    value.as_object().expect("it is an object").clone()
}
