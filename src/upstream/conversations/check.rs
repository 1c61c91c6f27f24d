//! What Mistral's conversations can't be asked for, found before anything is sent.

use std::collections::BTreeMap;

use crate::{
    domain::{
        Failure, Settings,
        failure::Violation,
        settings::{CompletionArgs, ToolChoice},
        tool::{Connector, ConnectorKind, Tool},
    },
    upstream::Secret,
};

/// Chat completions take up to 1.5.
const HIGHEST_TEMPERATURE: f64 = 1.0;

/// Checks that all that is set can be told. Fails with INVALID_REQUEST and a violation for each that can't: an answer that quietly
/// ignores it would be another one than was asked for. `hosted`: an agent of Mistral's leads.
pub(in crate::upstream) fn check(
    settings: &Settings,
    hosted: bool,
    secrets: &BTreeMap<String, Secret>,
) -> Result<(), Failure> {
    let mut violations = Vec::new();
    if hosted {
        check_hosted(settings, &mut violations);
    } else {
        check_args(&settings.completion_args, &mut violations);
        for (index, tool) in settings.tools.iter().enumerate() {
            let Tool::Connector(connector) = tool else { continue };
            check_connector(connector, index, secrets, &mut violations);
        }
    }
    if violations.is_empty() { Ok(()) } else { Err(Failure::invalid(violations)) }
}

/// Mistral keeps all of these with the agent, and takes no others beside it.
fn check_hosted(settings: &Settings, violations: &mut Vec<Violation>) {
    let set = [
        ("instructions", !settings.instructions.is_empty()),
        ("tools", !settings.tools.is_empty()),
        ("completion_args", settings.completion_args != CompletionArgs::default()),
    ];
    let set = set.into_iter().filter(|(_, is_set)| *is_set);
    violations.extend(set.map(|(field, _)| Violation {
        field: field.to_owned(),
        description: "is kept by Mistral with its agent: clear it, and change the agent there".to_owned(),
    }));
}

fn check_args(args: &CompletionArgs, violations: &mut Vec<Violation>) {
    let CompletionArgs {
        temperature,
        top_p: _,
        max_tokens: _,
        stop: _,
        random_seed: _,
        presence_penalty: _,
        frequency_penalty: _,
        response_format: _,
        tool_choice,
        parallel_tool_calls,
        prediction: _,
        reasoning_effort: _,
        safe_prompt,
        prompt_cache_key,
        prompt_mode,
        service_tier,
        min_tokens,
        repetition_penalty,
        top_k,
        guardrails: _,
    } = args;
    let mut refuse = |name: &str, description: &str| {
        violations.push(Violation { field: format!("completion_args.{name}"), description: description.to_owned() });
    };
    if temperature.is_some_and(|temperature| temperature > HIGHEST_TEMPERATURE) {
        refuse("temperature", "must be 1 at most where Mistral's own tools are used");
    }
    if matches!(tool_choice, Some(ToolChoice::Function(_))) {
        refuse("tool_choice.function_name", "can't be told where Mistral's own tools are used: take a mode instead");
    }
    let set = [
        // What is the default is no wish.
        ("parallel_tool_calls", *parallel_tool_calls == Some(false)),
        ("safe_prompt", *safe_prompt == Some(true)),
        ("prompt_cache_key", !prompt_cache_key.is_empty()),
        ("prompt_mode", !prompt_mode.is_empty()),
        ("service_tier", !matches!(service_tier.as_str(), "" | "standard_only")),
        ("min_tokens", min_tokens.is_some()),
        ("repetition_penalty", repetition_penalty.is_some()),
        ("top_k", top_k.is_some()),
    ];
    for (name, _) in set.into_iter().filter(|(_, is_set)| *is_set) {
        refuse(name, "is not known where Mistral's own tools are used: clear it");
    }
}

fn check_connector(
    connector: &Connector,
    index: usize,
    secrets: &BTreeMap<String, Secret>,
    violations: &mut Vec<Violation>,
) {
    let Connector { kind, include: _, exclude: _, requires_confirmation } = connector;
    let mut refuse = |field: &str, description: String| {
        let field = format!("tools[{index}].{}.{field}", connector.type_name());
        violations.push(Violation { field, description });
    };
    if !requires_confirmation.is_empty() {
        let text = "can't be heeded: Mistral takes confirmations only in conversations that it stores, and nothing is stored there; \
                    clear it, or exclude these tools";
        refuse("requires_confirmation", text.to_owned());
    }
    let authorization = match kind {
        ConnectorKind::Custom { connector_id: _, authorization } => authorization.as_ref(),
        ConnectorKind::WebSearch
        | ConnectorKind::WebSearchPremium
        | ConnectorKind::CodeInterpreter
        | ConnectorKind::ImageGeneration
        | ConnectorKind::DocumentLibrary { .. } => None,
    };
    if let Some(authorization) = authorization.filter(|authorization| !secrets.contains_key(&authorization.secret)) {
        let name = &authorization.secret;
        let text = format!(
            "must name a secret of the configuration that may be sent to this provider: set tools.secrets.{name}, and its host in \
             tools.secrets.{name}.hosts"
        );
        refuse("authorization_secret", text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::tool::ConnectorAuthorization;

    fn fields(settings: &Settings, hosted: bool) -> Vec<String> {
        let secrets = BTreeMap::from([("known".to_owned(), Secret::new("token"))]);
        let failure = check(settings, hosted, &secrets).err();
        failure.into_iter().flat_map(|failure| failure.violations).map(|violation| violation.field).collect()
    }

    fn custom(secret: &str, requires_confirmation: &[&str]) -> Tool {
        let authorization = ConnectorAuthorization { kind: "api-key".to_owned(), secret: secret.to_owned() };
        Tool::Connector(Connector {
            kind: ConnectorKind::Custom { connector_id: "c".to_owned(), authorization: Some(authorization) },
            include: Vec::new(),
            exclude: Vec::new(),
            requires_confirmation: requires_confirmation.iter().map(|&name| name.to_owned()).collect(),
        })
    }

    #[test]
    fn every_argument_that_is_not_known_here_is_named_at_once() {
        let completion_args = CompletionArgs {
            temperature: Some(1.1),
            tool_choice: Some(ToolChoice::Function("f".to_owned())),
            parallel_tool_calls: Some(false),
            safe_prompt: Some(true),
            prompt_cache_key: "key".to_owned(),
            prompt_mode: "reasoning".to_owned(),
            service_tier: "auto".to_owned(),
            min_tokens: Some(1),
            repetition_penalty: Some(1.0),
            top_k: Some(1),
            ..CompletionArgs::default()
        };
        let names = [
            "temperature",
            "tool_choice.function_name",
            "parallel_tool_calls",
            "safe_prompt",
            "prompt_cache_key",
            "prompt_mode",
            "service_tier",
            "min_tokens",
            "repetition_penalty",
            "top_k",
        ];
        let expected = names.map(|name| format!("completion_args.{name}"));
        assert_eq!(fields(&Settings { completion_args, ..Settings::default() }, false), expected);
        let completion_args = CompletionArgs {
            temperature: Some(1.0),
            tool_choice: Some(ToolChoice::Required),
            parallel_tool_calls: Some(true),
            safe_prompt: Some(false),
            service_tier: "standard_only".to_owned(),
            guardrails: vec![serde_json::Map::new()],
            ..CompletionArgs::default()
        };
        assert_eq!(fields(&Settings { completion_args, ..Settings::default() }, false), [""; 0]);
    }

    #[test]
    fn connectors_are_authorized_with_secrets_that_are_there_and_ask_for_no_consent() {
        let tools = vec![custom("known", &[]), custom("unknown", &["delete"])];
        assert_eq!(
            fields(&Settings { tools, ..Settings::default() }, false),
            ["tools[1].connector.requires_confirmation", "tools[1].connector.authorization_secret"]
        );
    }

    #[test]
    fn nothing_can_be_set_beside_an_agent_of_mistral() {
        let settings = Settings {
            instructions: "Be brief.".to_owned(),
            tools: vec![custom("unknown", &[])],
            completion_args: CompletionArgs { max_tokens: Some(1), ..CompletionArgs::default() },
            ..Settings::default()
        };
        assert_eq!(fields(&settings, true), ["instructions", "tools", "completion_args"]);
        assert_eq!(fields(&Settings::default(), true), [""; 0]);
    }
}
