//! A program that dies, hangs, lies and floods.

use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};

use causerie::{
    domain::tool::ToolOutcome,
    tools::mcp::{McpError, McpServerOptions, McpServers, Rest},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{call, error, faults, text};

/// The servers, and how often one was started.
struct Stage {
    servers: McpServers,
    starts: PathBuf,
    _folder: TempDir,
}

impl Stage {
    fn new(mode: &str, change: impl FnOnce(&mut McpServerOptions)) -> Option<Stage> {
        let folder = tempfile::tempdir().expect("a folder");
        let starts = folder.path().join("starts");
        let mut options = faults(mode, &starts)?;
        change(&mut options);
        Some(Stage { servers: McpServers::new(vec![options]), starts, _folder: folder })
    }

    fn started(&self) -> Vec<i32> {
        let lines = fs::read_to_string(&self.starts).unwrap_or_default();
        lines.lines().map(|line| line.parse().expect("an id")).collect()
    }

    async fn call(&self, tool: &str, arguments: &str) -> ToolOutcome {
        call(&self.servers, "faults", tool, arguments).await
    }

    async fn tools(&self) -> Result<Vec<String>, McpError> {
        let tools = self.servers.tools("faults").await?;
        Ok(tools.iter().map(|tool| tool.name.clone()).collect())
    }

    async fn journal(&self) -> Vec<String> {
        serde_json::from_str(text(&self.call("journal", "").await)).expect("a list")
    }
}

fn is_there(id: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

#[tokio::test]
async fn a_program_is_started_when_it_is_needed_and_ended_on_close() {
    let Some(stage) = Stage::new("good", |_| {}) else { return };
    assert_eq!(stage.servers.names(), ["faults"]);
    assert!(stage.started().is_empty(), "nobody needed it");
    let (first, second) = tokio::join!(stage.call("echo", r#"{"text":"a"}"#), stage.call("echo", r#"{"text":"b"}"#));
    assert_eq!((text(&first), text(&second)), ("a", "b"));
    let [id] = stage.started()[..] else { panic!("{:?}", stage.started()) };
    assert!(is_there(id));
    stage.servers.close().await;
    assert!(!is_there(id));
    let late = stage.call("echo", "").await;
    assert!(error(&late).contains("is being ended"), "{late:?}");
    assert_eq!(stage.started().len(), 1);
}

#[tokio::test]
async fn it_ends_with_its_last_handle() {
    let Some(stage) = Stage::new("good", |_| {}) else { return };
    assert_eq!(text(&stage.call("echo", "").await), "");
    let [id] = stage.started()[..] else { panic!("{:?}", stage.started()) };
    drop(stage);
    while is_there(id) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn tools_are_listed_over_pages_once_and_again_when_they_change() {
    let Some(stage) = Stage::new("good", |_| {}) else { return };
    let tools = stage.servers.tools("faults").await.expect("they are listed");
    assert_eq!(tools.len(), 13);
    assert_eq!(tools[0].spec.name, "faults_echo");
    assert_eq!(tools[0].spec.description, "Does echo.");
    assert!(tools[0].spec.parameters["properties"]["text"].is_object());
    let env = tools.iter().find(|tool| tool.name == "env").expect("it is on one of the pages");
    assert_eq!(Value::Object(env.spec.parameters.clone()), json!({"type": "object"}), "a schema of anything");
    stage.tools().await.expect("the known ones");
    assert_eq!(stage.journal().await.iter().filter(|line| *line == "tools/list").count(), 2, "two pages, once");
    assert_eq!(text(&stage.call("grow", "").await), "grown");
    assert!(stage.tools().await.expect("listed anew").contains(&"grown".to_owned()));
    stage.servers.close().await;
}

#[tokio::test]
async fn what_the_operator_forbids_is_neither_listed_nor_called() {
    let change = |options: &mut McpServerOptions| {
        options.include = ["echo", "die", "journal"].map(str::to_owned).to_vec();
        options.exclude = vec!["die".into()];
    };
    let Some(stage) = Stage::new("good", change) else { return };
    assert_eq!(stage.tools().await.expect("they are listed"), ["echo", "journal"]);
    for tool in ["die", "env"] {
        assert!(error(&stage.call(tool, "").await).contains("no tool"), "{tool}");
    }
    stage.servers.close().await;
}

#[tokio::test]
async fn errors_are_told_and_nothing_is_called_with_bad_arguments() {
    let Some(stage) = Stage::new("good", |_| {}) else { return };
    assert_eq!(error(&stage.call("error", "{}").await), "no such city");
    assert!(error(&stage.call("die", "[1]").await).contains("no JSON object"));
    assert_eq!(text(&stage.call("echo", "{}").await), "", "it lives");
    let Err(unknown) = stage.servers.tools("other").await else { panic!("there is none") };
    assert_eq!(unknown.to_string(), "there is no MCP server `other`; there are: faults");
    stage.servers.close().await;
}

#[tokio::test]
async fn a_death_fails_all_calls_at_once_and_then_it_rests() {
    let Some(stage) = Stage::new("good", |_| {}) else { return };
    let (hanging, dying) = tokio::join!(stage.call("hang", ""), stage.call("die", ""));
    for (tool, outcome) in [("hang", &hanging), ("die", &dying)] {
        assert_eq!(
            error(outcome),
            format!(
                "the server `faults` ended (exit status: 3) while `{tool}` was called: what the call did is not known"
            )
        );
    }
    let resting = stage.call("echo", "").await;
    assert!(
        error(&resting).starts_with("the server `faults` ended (exit status: 3); it is tried again in "),
        "{resting:?}"
    );
    assert!(error(&resting).ends_with(" s at the earliest; nothing was called"), "{resting:?}");
    let Err(McpError::Unavailable { retry_after: Some(left), .. }) = stage.servers.tools("faults").await else {
        panic!("it rests")
    };
    assert!(left > Duration::from_secs(3500) && left <= Duration::from_secs(3600), "{left:?}");
    assert_eq!(stage.started().len(), 1);
    stage.servers.close().await;
}

#[tokio::test]
async fn after_its_rest_it_is_started_again() {
    let change = |options: &mut McpServerOptions| {
        options.rest = Rest { first: Duration::from_millis(20), longest: Duration::from_secs(60) };
    };
    let Some(stage) = Stage::new("good", change) else { return };
    for round in 1..=3 {
        while stage.tools().await.is_err() {
            tokio::task::yield_now().await;
        }
        assert_eq!(stage.started().len(), round);
        assert!(error(&stage.call("die", "").await).contains("what the call did is not known"));
        let Err(McpError::Unavailable { retry_after: Some(left), .. }) = stage.servers.tools("faults").await else {
            panic!("it rests")
        };
        assert!(left <= Duration::from_millis(20 << (round - 1)), "{round}: {left:?}");
    }
    stage.servers.close().await;
}

#[tokio::test]
async fn one_that_does_not_start_says_why() {
    let Some(stage) = Stage::new("exit", |_| {}) else { return };
    let why = stage.tools().await.expect_err("it is gone").to_string();
    assert!(why.contains("ended (exit status: 7) before it introduced itself"), "{why}");
    assert!(stage.tools().await.expect_err("it rests").to_string().contains("is tried again in"));
    assert_eq!(stage.started().len(), 1);

    let change = |options: &mut McpServerOptions| options.connect_timeout = Duration::from_millis(300);
    let Some(stage) = Stage::new("silent", change) else { return };
    let why = stage.tools().await.expect_err("it says nothing").to_string();
    assert!(why.contains("did not introduce itself within 300ms"), "{why}");
    for id in stage.started() {
        while is_there(id) {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn lists_without_end_are_not_followed() {
    for (mode, text) in [("circle", "in a circle"), ("endless", "more than 100 pages")] {
        let Some(stage) = Stage::new(mode, |_| {}) else { return };
        let why = stage.tools().await.expect_err("there is no end").to_string();
        assert!(why.contains(text), "{why}");
        stage.servers.close().await;
    }
}

#[tokio::test]
async fn a_call_without_an_answer_is_cancelled() {
    let change = |options: &mut McpServerOptions| options.call_timeout = Duration::from_millis(700);
    let Some(stage) = Stage::new("good", change) else { return };
    stage.tools().await.expect("it is started");
    let late = stage.call("hang", "").await;
    assert_eq!(error(&late), "the tool did not answer within 700ms and was cancelled: what it did is not known");
    let cancelled = async |count: usize| {
        while stage.journal().await.iter().filter(|line| *line == "notifications/cancelled").count() != count {
            tokio::task::yield_now().await;
        }
    };
    cancelled(1).await;
    // So is one that nobody waits for any more.
    tokio::select! {
        biased;
        outcome = stage.call("hang", "") => panic!("{outcome:?}"),
        echoed = stage.call("echo", "") => assert_eq!(text(&echoed), ""),
    }
    cancelled(2).await;
    assert_eq!(stage.started().len(), 1, "it lives");
    stage.servers.close().await;
}

#[tokio::test]
async fn only_so_many_calls_are_under_way() {
    let change = |options: &mut McpServerOptions| {
        options.max_concurrent = 1;
        options.call_timeout = Duration::from_millis(500);
    };
    let Some(stage) = Stage::new("good", change) else { return };
    stage.tools().await.expect("it is started");
    let (hanging, waiting) = tokio::join!(stage.call("hang", ""), stage.call("die", ""));
    assert!(error(&hanging).contains("did not answer"), "{hanging:?}");
    assert!(error(&waiting).contains("1 other calls of the server `faults` were under way"), "{waiting:?}");
    assert_eq!(stage.started().len(), 1);
    stage.servers.close().await;
}

#[tokio::test]
async fn progress_is_told_as_fast_as_it_is_read() {
    let Some(stage) = Stage::new("good", |_| {}) else { return };
    let mut said = Vec::new();
    let began = std::time::Instant::now();
    let outcome = stage.servers.call("faults", "progress", "", |text| said.push(text)).await;
    assert_eq!(text(&outcome), "done");
    assert_eq!(said.last().map(String::as_str), Some("nearly there"));
    let most = 3 + began.elapsed().as_millis() / 100;
    assert!((said.len() as u128) <= most, "{} in {:?}", said.len(), began.elapsed());
    stage.servers.close().await;
}

#[tokio::test]
async fn its_environment_is_what_it_is_given() {
    let Some(stage) = Stage::new("good", |_| {}) else { return };
    let env: BTreeMap<String, String> = serde_json::from_str(text(&stage.call("env", "").await)).expect("a table");
    assert_eq!(env.get("GIVEN").map(String::as_str), Some("yes"));
    assert!(env.contains_key("PATH"));
    let ours: Vec<&String> =
        env.keys().filter(|name| name.starts_with("CAUSERIE_") || name.starts_with("CARGO")).collect();
    assert!(ours.is_empty(), "{ours:?}");
    stage.servers.close().await;
}

#[tokio::test]
async fn it_gets_neither_model_nor_person_nor_files_of_ours() {
    let Some(stage) = Stage::new("good", |_| {}) else { return };
    let answers: Value = serde_json::from_str(text(&stage.call("ask", "").await)).expect("a table");
    let declined = json!({
        "ping": "ok", "sampling/createMessage": -32601, "elicitation/create": "decline", "roots/list": -32601,
    });
    assert_eq!(answers, declined);
    stage.servers.close().await;
}

#[tokio::test]
async fn garbage_and_floods_are_waded_through() {
    let Some(stage) = Stage::new("good", |_| {}) else { return };
    assert_eq!(text(&stage.call("ragged", "").await), "ragged");
    assert_eq!(text(&stage.call("flood", "").await), "flooded");
    stage.servers.close().await;
}

#[tokio::test]
async fn what_would_fill_our_memory_ends_the_connection() {
    for (tool, why) in [
        ("long_line", "wrote a line of more than 16777216 bytes"),
        ("pester", "asked and asked without reading the answers"),
    ] {
        let Some(stage) = Stage::new("good", |_| {}) else { return };
        let outcome = stage.call(tool, "").await;
        assert!(error(&outcome).contains(why), "{outcome:?}");
        stage.servers.close().await;
        assert!(!is_there(stage.started()[0]));
    }
}
