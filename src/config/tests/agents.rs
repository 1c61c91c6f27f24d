//! Agents: what stands in the file of them.

use serde_json::json;

use super::*;

#[test]
fn agents_are_read_with_what_has_a_form_of_its_own() {
    let text = r#"
[agents.support]
model = "small"
instructions = "Be kind"
handoffs = ["Front desk"]
metadata = { team = "one", floor = 2 }
completion_args = { temperature = 1e-1, stop = [] }
[[agents.support.tools]]
function = { name = "f", parameters = { enum = [0x10, "x", true, [1.5]] } }

[agents."Front desk"]
model = "large"
"#;
    let config = Config::load(&file(text)).expect("all values are right");
    let support = Agent {
        key: "agents.support".into(),
        name: "support".into(),
        model: "small".into(),
        instructions: "Be kind".into(),
        tools: vec![json!({"function": {"name": "f", "parameters": {"enum": [16, "x", true, [1.5]]}}})],
        completion_args: Some(json!({"temperature": 0.1, "stop": []})),
        handoffs: vec!["Front desk".into()],
        metadata: [("team".to_owned(), "one".to_owned()), ("floor".to_owned(), "2".to_owned())].into(),
        ..Agent::default()
    };
    let desk = Agent {
        key: "agents.\"Front desk\"".into(),
        name: "Front desk".into(),
        model: "large".into(),
        ..Agent::default()
    };
    let mut agents = config.agents;
    agents.sort_by(|one, other| other.name.cmp(&one.name));
    assert_eq!(agents, [support, desk]);
}

#[test]
fn instructions_may_stand_in_a_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("support.md");
    std::fs::write(&path, "Be kind\n").expect("a file");
    let text = format!("[agents.a]\nmodel = \"m\"\ninstructions_file = \"{}\"", path.display());
    assert_eq!(Config::load(&file(&text)).expect("it is there").agents[0].instructions, "Be kind\n");
    let found = faults(file("[agents.a]\nmodel = \"m\"\ninstructions_file = \"/no/such\""));
    assert!(
        found[0].starts_with("agents.a.instructions_file (causerie.toml, line 3) is /no/such, which cannot be read")
    );
}

#[test]
fn faults_of_an_agent_name_line_and_key() {
    let agent = |lines: &str| file(&format!("[agents.a]\nmodel = \"m\"\n{lines}"));
    for (sources, start) in [
        (file("[agents.a]"), "agents.a (causerie.toml, line 1) has no model, which must be a model's name"),
        (agent("tools = 3"), "agents.a.tools (causerie.toml, line 3) is a list: write [[agents.a.tools]]"),
        (
            agent("toolz = []"),
            "agents.a.toolz (causerie.toml, line 3) is not a setting; the nearest one is agents.a.tools",
        ),
        (
            agent("completion_args = { x = 1979-05-27 }"),
            "agents.a.completion_args (causerie.toml, line 3) must hold texts, finite numbers",
        ),
        (
            agent("instructions = \"x\"\ninstructions_file = \"y\""),
            "agents.a.instructions_file (causerie.toml, line 4) cannot be set beside instructions",
        ),
        (agent("metadata = { a = [\"b\"] }"), "agents.a.metadata.a (causerie.toml, line 3) must be a text in quotes"),
        (file("[agents]\na = 1"), "agents.a (causerie.toml, line 2) is not a setting"),
    ] {
        let found = faults(sources);
        assert!(found.len() == 1 && found[0].starts_with(start), "{start}: {found:?}");
    }
}
