//! `causerie tools`: what the configured servers of tools offer. The composition root asks them; here the answers are shown.

use std::{
    future::Future,
    io::{IsTerminal, Write, stderr, stdout},
    time::Duration,
};

use clap::Args;
use indicatif::ProgressBar;

use super::{Failure, serve::ServeArgs};
use crate::config::Config;

pub(super) const AFTER_HELP: &str = "\
Takes every flag of `causerie serve`: what counts is the configuration that the service would run with. No server has to \
run; the tool servers are started for the question and ended after it. Exit codes: 0 all can be used, 1 one can't, 2 a \
setting is wrong.";

/// Of a description in the table.
const DESCRIPTION_CHARS: usize = 100;

/// What `causerie tools` takes: whom to ask, and the settings of `causerie serve`.
#[derive(Debug, Args)]
pub struct ToolsArgs {
    /// Only this server, with the schemas of its tools.
    #[arg(value_name = "SERVER")]
    of: Option<String>,
    /// Only this tool of it, by its own name or as models see it.
    #[arg(value_name = "TOOL")]
    tool: Option<String>,
    #[command(flatten)]
    serve: ServeArgs,
}

/// Tools that come from one place.
#[derive(Debug, Clone)]
pub struct Group {
    /// Its name in the configuration.
    pub name: String,
    /// Where it is, or what it is.
    pub place: String,
    /// What it says of itself; may be empty.
    pub info: String,
    /// What is wrong.
    pub problem: Option<String>,
    /// What it offers.
    pub tools: Vec<Row>,
}

/// A tool.
#[derive(Debug, Clone)]
pub struct Row {
    /// As models see it.
    pub name: String,
    /// As its own server calls it.
    pub own_name: String,
    /// For models.
    pub description: String,
    /// The schema of its arguments, as JSON over several lines.
    pub parameters: String,
}

impl ToolsArgs {
    /// The configuration that the service would run with, or everything that is wrong with it.
    pub fn config(&self) -> Result<Config, Failure> {
        self.serve.config()
    }

    /// Whether the log is asked for: it tells more than the table, and some of it twice.
    pub fn logs(&self) -> bool {
        self.serve.sets("log.level")
    }

    /// The only server that is asked.
    pub fn server(&self) -> Option<&str> {
        self.of.as_deref()
    }
}

/// Waits for the answers and shows them on stdout. Fails if one of those that were asked cannot be used.
pub async fn run(args: &ToolsArgs, answers: impl Future<Output = Result<Vec<Group>, Failure>>) -> Result<(), Failure> {
    let waiting = stderr().is_terminal().then(|| {
        let spinner = ProgressBar::new_spinner().with_message("asking the servers of tools");
        spinner.enable_steady_tick(Duration::from_millis(100));
        spinner
    });
    let groups = answers.await;
    if let Some(spinner) = waiting {
        spinner.finish_and_clear();
    }
    let groups = groups?;
    let text = match (&args.of, &args.tool) {
        (Some(_), Some(tool)) => one(&groups, tool)?,
        (Some(_), None) => groups.iter().map(|group| head(group) + &schemas(group)).collect(),
        (None, _) if groups.is_empty() => {
            "No servers of tools are configured: see [mcp.NAME] in the README.\n".to_owned()
        }
        (None, _) => groups.iter().map(|group| head(group) + &table(group)).collect::<Vec<_>>().join("\n"),
    };
    stdout().write_all(text.as_bytes())?;
    let down = groups.iter().filter(|group| group.problem.is_some()).map(|group| group.name.as_str());
    let down: Vec<&str> = down.collect();
    match down.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(format!("the tools of {} cannot be used", down.join(", ")))
            .note("What a program writes to stderr is shown with --log-level causerie=debug.")),
    }
}

fn head(group: &Group) -> String {
    let Group { name, place, info, problem, tools: _ } = group;
    let mut text = format!("{name}: {}\n", one_line(place));
    for line in [Some(info).filter(|info| !info.is_empty()), problem.as_ref()].into_iter().flatten() {
        text.push_str(&format!("  {}\n", one_line(line)));
    }
    text
}

/// A line for each tool.
fn table(group: &Group) -> String {
    let width = group.tools.iter().map(|tool| tool.name.chars().count()).max().unwrap_or_default();
    let line = |tool: &Row| {
        let description: String = one_line(&tool.description).chars().take(DESCRIPTION_CHARS).collect();
        format!("{}\n", format!("  {:<width$}  {description}", tool.name).trim_end())
    };
    group.tools.iter().map(line).collect()
}

fn schemas(group: &Group) -> String {
    group.tools.iter().map(|tool| format!("\n{}", schema(tool))).collect()
}

fn one(groups: &[Group], wanted: &str) -> Result<String, Failure> {
    let mut tools = groups.iter().flat_map(|group| &group.tools);
    match tools.find(|tool| tool.own_name == wanted || tool.name == wanted) {
        Some(tool) => Ok(schema(tool)),
        // Without its server nobody can say that it has no such tool.
        None if groups.iter().any(|group| group.problem.is_some()) => Ok(groups.iter().map(head).collect()),
        None => {
            let names: Vec<&str> =
                groups.iter().flat_map(|group| &group.tools).map(|tool| tool.own_name.as_str()).collect();
            Err(Failure::new(format!("there is no tool {wanted:?}; there are: {}", names.join(", "))))
        }
    }
}

fn schema(tool: &Row) -> String {
    let Row { name, own_name, description, parameters } = tool;
    let lines: String = description.trim().lines().map(|line| format!("  {}\n", printable(line))).collect();
    format!("{name} ({})\n{lines}{parameters}\n", printable(own_name))
}

/// The first line. What comes from a server must not steer the terminal.
fn one_line(text: &str) -> String {
    printable(text.trim().lines().next().unwrap_or_default())
}

fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group() -> Group {
        let row = |own_name: &str, description: &str| Row {
            name: format!("files_{own_name}"),
            own_name: own_name.to_owned(),
            description: description.to_owned(),
            parameters: "{\n  \"type\": \"object\"\n}".to_owned(),
        };
        Group {
            name: "files".into(),
            place: "npx files /data".into(),
            info: "secure-files 1.2, protocol 2025-11-25".into(),
            problem: None,
            tools: vec![row("read", "\n Reads a file.\x1b[31m\nMore."), row("write_all", "")],
        }
    }

    #[test]
    fn a_table_has_a_line_a_tool() {
        let expected = "\
files: npx files /data
  secure-files 1.2, protocol 2025-11-25
  files_read       Reads a file.[31m
  files_write_all
";
        assert_eq!(head(&group()) + &table(&group()), expected);
    }

    #[test]
    fn one_tool_is_found_by_either_name() {
        let expected = "files_write_all (write_all)\n{\n  \"type\": \"object\"\n}\n";
        for name in ["write_all", "files_write_all"] {
            assert_eq!(one(&[group()], name).expect("it is there"), expected);
        }
        let failure = one(&[group()], "delete").expect_err("there is none").to_string();
        assert!(failure.contains("there is no tool \"delete\"; there are: read, write_all"), "{failure}");
    }

    #[tokio::test]
    async fn one_that_is_down_fails_the_command() {
        let args = ToolsArgs { of: None, tool: None, serve: ServeArgs::default() };
        assert!(run(&args, async { Ok(vec![group()]) }).await.is_ok());
        let down = Group { problem: Some("can't be reached".into()), tools: Vec::new(), ..group() };
        let failure = run(&args, async { Ok(vec![group(), down]) }).await.expect_err("one is down");
        assert!(failure.to_string().contains("the tools of files cannot be used"), "{failure}");
    }
}
