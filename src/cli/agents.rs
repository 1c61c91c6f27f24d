//! `causerie agents`: the agents of a service, their versions, and what differs between two of them.

use std::{
    fs::File,
    io::{Read, Write, stdin, stdout},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use jiff::Timestamp;
use prost_types::FieldMask;
use similar::TextDiff;

use super::{
    connect::{Agents, Server, quick},
    failure::Failure,
    json,
    table::{line, table},
};
use crate::proto::{
    Agent, AgentSource, CreateAgentRequest, GetAgentRequest, ListAgentVersionsRequest, ListAgentsRequest,
    UpdateAgentRequest,
};

pub(super) const AFTER_HELP: &str = "\
AGENT is an id, or a name that only one agent has. Agents are shown and read in protobuf's JSON. To change one:

  causerie agents show support > support.json
  $EDITOR support.json
  causerie agents update support.json --message 'shorter answers'

The file has the etag that the agent was read with: if somebody changed it meanwhile, nothing is written.";

/// More than any agent: messages have at most 16 MiB, and JSON at most doubles that.
const LARGEST_FILE_BYTES: u64 = 64 << 20;

/// What `causerie agents` takes.
#[derive(Debug, Args)]
pub struct AgentsArgs {
    #[command(flatten)]
    server: Server,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List all agents, newest first (what `causerie agents` does without a command).
    List,
    /// Show an agent, at its current version unless another one is named.
    Show {
        /// Its id or name.
        agent: String,
        /// A version's number, or an alias.
        #[arg(long, value_name = "VERSION", default_value = "")]
        version: String,
    },
    /// List the versions of an agent, newest first.
    Versions {
        /// Its id or name.
        agent: String,
    },
    /// Show what differs between two versions of an agent. Each is a number or an alias.
    Diff {
        /// Its id or name.
        agent: String,
        /// The version to begin with.
        from: String,
        /// The version to compare it with.
        to: String,
    },
    /// Make an agent from a file.
    Create {
        /// The agent in JSON; `-` is stdin.
        file: PathBuf,
        /// Why, for the list of versions.
        #[arg(long, default_value = "")]
        message: String,
    },
    /// Make an agent what a file says, all of it.
    Update {
        /// The agent in JSON, with its id and, to keep others' changes, its etag; `-` is stdin.
        file: PathBuf,
        /// Why, for the list of versions.
        #[arg(long, default_value = "")]
        message: String,
    },
}

/// Does what is asked; results go to stdout.
pub async fn run(args: AgentsArgs) -> Result<(), Failure> {
    let mut client = args.server.connect_agents().await?;
    let text = match args.command.unwrap_or(Command::List) {
        Command::List => list(&mut client).await?,
        Command::Show { agent, version } => {
            let id = find(&mut client, &agent).await?;
            pretty(&get(&mut client, id, version).await?)?
        }
        Command::Versions { agent } => versions(&mut client, &agent).await?,
        Command::Diff { agent, from, to } => {
            let id = find(&mut client, &agent).await?;
            let [from, to] = [get(&mut client, id.clone(), from).await?, get(&mut client, id, to).await?];
            diff(from, to)?
        }
        Command::Create { file, message } => {
            let agent = Some(read(&file)?);
            let request = CreateAgentRequest { agent, version_message: message, request_id: String::new() };
            pretty(&client.create_agent(quick(request)).await?.into_inner())?
        }
        Command::Update { file, message } => {
            let agent = Some(read(&file)?);
            let update_mask = Some(FieldMask { paths: vec!["*".to_owned()] });
            let request = UpdateAgentRequest { agent, update_mask, version_message: message };
            pretty(&client.update_agent(quick(request)).await?.into_inner())?
        }
    };
    stdout().write_all(text.as_bytes())?;
    Ok(())
}

async fn get(client: &mut Agents, agent_id: String, version: String) -> Result<Agent, Failure> {
    Ok(client.get_agent(quick(GetAgentRequest { agent_id, version })).await?.into_inner())
}

/// All agents; with a name, those of that name.
async fn all(client: &mut Agents, name: &str) -> Result<Vec<Agent>, Failure> {
    let mut request = ListAgentsRequest { page_size: 1000, name: name.to_owned(), ..ListAgentsRequest::default() };
    let mut agents = Vec::new();
    loop {
        let page = client.list_agents(quick(request.clone())).await?.into_inner();
        agents.extend(page.agents);
        if page.next_page_token.is_empty() {
            return Ok(agents);
        }
        request.page_token = page.next_page_token;
    }
}

/// The id of an agent that is named by its id or its name.
pub(super) async fn find(client: &mut Agents, agent: &str) -> Result<String, Failure> {
    let hex = agent.strip_prefix("agent_").unwrap_or_default();
    if hex.len() == 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(agent.to_owned());
    }
    let mut found = all(client, agent).await?;
    match (found.pop(), found.len()) {
        (Some(only), 0) => Ok(only.id),
        (Some(last), _) => {
            let ids: Vec<String> = found.into_iter().map(|agent| agent.id).chain([last.id]).collect();
            let text = format!("{} agents are called \"{agent}\"; name one by its id", ids.len());
            Err(ids.into_iter().fold(Failure::new(text), Failure::note))
        }
        (None, _) => Err(Failure::new(format!("no agent is called \"{agent}\""))
            .note("`causerie agents` lists those that there are.")),
    }
}

async fn list(client: &mut Agents) -> Result<String, Failure> {
    let headings = ["name", "id", "version", "model", "source", "description"].map(str::to_owned);
    let agents = all(client, "").await?;
    Ok(table([headings].into_iter().chain(agents.iter().map(agent_cells))))
}

fn agent_cells(agent: &Agent) -> [String; 6] {
    let source = match agent.source() {
        AgentSource::Unspecified => "-",
        AgentSource::Api => "api",
        AgentSource::Configuration => "configuration",
    };
    [
        agent.name.clone(),
        agent.id.clone(),
        format!("{} of {}", agent.current_version, agent.version_count),
        agent.model.clone(),
        source.to_owned(),
        line(&agent.description),
    ]
}

async fn versions(client: &mut Agents, agent: &str) -> Result<String, Failure> {
    let agent_id = find(client, agent).await?;
    let mut request = ListAgentVersionsRequest { agent_id, page_size: 1000, ..ListAgentVersionsRequest::default() };
    let mut rows = vec![["version", "made", "model", "aliases", "message"].map(str::to_owned)];
    loop {
        let page = client.list_agent_versions(quick(request.clone())).await?.into_inner();
        rows.extend(page.versions.iter().map(version_cells));
        if page.next_page_token.is_empty() {
            return Ok(table(rows));
        }
        request.page_token = page.next_page_token;
    }
}

fn version_cells(agent: &Agent) -> [String; 5] {
    let current = if agent.version == agent.current_version { " (current)" } else { "" };
    let aliases = agent.aliases.iter().filter(|(_, version)| **version == agent.version);
    let aliases: Vec<&str> = aliases.map(|(alias, _)| alias.as_str()).collect();
    let made = agent.version_created_at.and_then(|time| Timestamp::from_second(time.seconds).ok());
    [
        format!("{}{current}", agent.version),
        made.map_or_else(|| "-".to_owned(), |time| time.to_string()),
        agent.model.clone(),
        if aliases.is_empty() { "-".to_owned() } else { aliases.join(", ") },
        line(&agent.version_message),
    ]
}

/// What differs in what the versions fix; empty if nothing does.
fn diff(from: Agent, to: Agent) -> Result<String, Failure> {
    let names = [&from, &to].map(|agent| format!("{} version {}", agent.id, agent.version));
    let [from, to] = [fixed(from), fixed(to)].map(|agent| pretty(&agent));
    let (from, to) = (from?, to?);
    Ok(TextDiff::from_lines(&from, &to).unified_diff().header(&names[0], &names[1]).to_string())
}

/// An agent without what is not of its version.
fn fixed(agent: Agent) -> Agent {
    let Agent {
        name,
        description,
        model,
        fallback_models,
        instructions,
        tools,
        completion_args,
        handoffs,
        metadata,
        ..
    } = agent;
    Agent {
        name,
        description,
        model,
        fallback_models,
        instructions,
        tools,
        completion_args,
        handoffs,
        metadata,
        ..Agent::default()
    }
}

fn pretty(agent: &Agent) -> Result<String, Failure> {
    let text = json::to_text("causerie.v1.Agent", agent);
    text.map_err(|error| Failure::new(format!("what the server sent cannot be shown: {error}")))
}

fn read(path: &Path) -> Result<Agent, Failure> {
    let name = if path.as_os_str() == "-" { "stdin".to_owned() } else { path.display().to_string() };
    let wrong = |error: &dyn std::fmt::Display| Failure::new(format!("{name} cannot be read: {error}"));
    let mut text = String::new();
    let read = if path.as_os_str() == "-" {
        stdin().take(LARGEST_FILE_BYTES).read_to_string(&mut text)
    } else {
        File::open(path).and_then(|file| file.take(LARGEST_FILE_BYTES).read_to_string(&mut text))
    };
    read.map_err(|error| wrong(&error))?;
    json::from_text("causerie.v1.Agent", &text).map_err(|error| wrong(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_shows_what_the_versions_fix_and_nothing_else() {
        let agent = |version, instructions: &str| Agent {
            id: "agent_1".into(),
            name: "support".into(),
            instructions: instructions.into(),
            version,
            etag: version.to_string(),
            ..Agent::default()
        };
        let told = diff(agent(1, "Be kind"), agent(2, "Be short")).expect("it can be shown");
        let expected = "\
--- agent_1 version 1
+++ agent_1 version 2
@@ -1,4 +1,4 @@
 {
-  \"instructions\": \"Be kind\",
+  \"instructions\": \"Be short\",
   \"name\": \"support\"
 }
";
        assert_eq!(told, expected);
        assert_eq!(diff(agent(1, "Be kind"), agent(2, "Be kind")).expect("it can be shown"), "");
    }
}
