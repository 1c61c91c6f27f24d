//! The command line: what it takes, and the commands that are clients of the service.
//!
//! `serve` is only read and announced here; the composition root runs it. The other commands know the service through its
//! gRPC contract alone, as any client does.

pub mod agents;
pub mod batch;
pub mod chat;
mod check;
pub mod connect;
pub mod export;
mod failure;
pub mod import;
mod json;
mod lines;
mod money;
mod progress;
pub mod providers;
pub mod serve;
mod table;
pub mod tools;
pub mod turns;
pub mod watch;
pub mod webhooks;

use std::{future::Future, process::ExitCode};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use tokio::runtime;

pub use self::failure::Failure;
use self::{
    agents::AgentsArgs, batch::BatchArgs, chat::ChatArgs, export::ExportArgs, import::ImportArgs,
    providers::ProvidersArgs, serve::ServeArgs, tools::ToolsArgs, turns::TurnsArgs, watch::WatchArgs,
    webhooks::WebhooksArgs,
};

const LONG_ABOUT: &str = "\
Conversations with language models, kept on your own machine and served over gRPC.

A conversation id names an immutable version of a history. Every turn makes a new version whose parent is the one it ran \
on: old ids stay valid, branching is free, and nothing is ever overwritten. Turns are forwarded to Mistral's API, or to \
any server that speaks its chat completions.

Without a command, `causerie` serves.";

const EXAMPLES: &str = "\
Try it without a key and without internet:
  causerie --offline
  causerie chat --model offline-small

For real (the key is read from the environment or a file, never from a flag):
  MISTRAL_API_KEY=… causerie
  causerie chat --model mistral-small-latest
  echo 'Why is the sky blue?' | causerie chat --model mistral-small-latest

Without a key the service runs all the same: what is stored can be read, and turns are refused with API_KEY_MISSING.

Check the providers and their keys, and the servers of tools:
  causerie providers
  causerie tools

Agents lead conversations; they are made with `causerie agents create`, by AgentService or in the configuration:
  causerie agents
  causerie chat --agent support

Turns that run, wait or have ended:
  causerie turns --state failed --since 1h
  causerie turns follow turn_…

See what happens, from now on or from any revision:
  causerie watch

Be told by HTTP of what happens:
  causerie webhooks create https://example.com/hooks

Many prompts at once, in a file of JSON Lines; the same command goes on after an interruption:
  causerie batch prompts.jsonl --model mistral-small-latest --output results.jsonl

Keep and restore:
  causerie export --output all.jsonl
  causerie import all.jsonl

Environment:
  MISTRAL_API_KEY  the key of Mistral's API
  CAUSERIE_CONFIG  the configuration file
  CAUSERIE_SERVER  where chat, agents, turns, watch, export and import connect
  CAUSERIE_MODEL   the model of new conversations in chat
  CAUSERIE_…       every setting of `causerie serve --help`

Exit codes: 0 done, 1 failed, 2 not understood (flags, settings).";

#[derive(Debug, Parser)]
#[command(
    name = "causerie",
    version,
    about = "Conversations with language models, on your own machine, over gRPC",
    long_about = LONG_ABOUT,
    after_help = EXAMPLES,
    args_conflicts_with_subcommands = true,
    override_usage = "causerie [OPTIONS] [COMMAND]\n       causerie [SERVE OPTIONS]   (see `causerie serve --help`)"
)]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

/// What the command line asks for.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the service (what `causerie` does without a command).
    #[command(after_help = serve::AFTER_HELP)]
    Serve(ServeArgs),
    /// Talk to a model in the terminal, or through a pipe.
    ///
    /// At a terminal: answers appear as they come, Ctrl-C stops one, /help shows the commands (history, the tree of
    /// versions, editing a question, branching).
    ///
    /// In a pipe: every line is a message (or a command), stdout gets the answers and nothing else, notes go to stderr. The
    /// first turn that fails or is cut off ends it with exit code 1. The last line on stderr names the version to go on from.
    Chat(ChatArgs),
    /// Run many prompts or turns from a file, and collect what comes of them.
    #[command(after_help = batch::AFTER_HELP)]
    Batch(BatchArgs),
    /// List, show, compare and change agents.
    #[command(after_help = agents::AFTER_HELP)]
    Agents(AgentsArgs),
    /// List turns; show, wait for, stop and follow one.
    #[command(after_help = turns::AFTER_HELP)]
    Turns(TurnsArgs),
    /// List, make, change and test webhooks; see what was sent to them.
    #[command(after_help = webhooks::AFTER_HELP)]
    Webhooks(WebhooksArgs),
    /// Check the configured providers: reachable, key, models, clock, round trip.
    #[command(after_help = providers::AFTER_HELP)]
    Providers(ProvidersArgs),
    /// Show what the configured tool servers offer: their state, their tools, the schemas of one.
    #[command(after_help = tools::AFTER_HELP)]
    Tools(ToolsArgs),
    /// Follow what happens on the server: turns, versions, deletes.
    ///
    /// One line for each change: its revision, when it happened, what it is, the version (or else the turn or batch), the model
    /// and how the turn stands. A lost connection is taken up where it was. Ctrl-C ends, and says how to go on from there.
    #[command(after_help = watch::AFTER_HELP)]
    Watch(WatchArgs),
    /// Write conversations, with all their versions, as JSON Lines.
    ///
    /// One ExportRecord a line in protobuf's JSON. Exports of the same store differ only in the first line, which has the
    /// time.
    Export(ExportArgs),
    /// Store conversations that `causerie export` wrote.
    ///
    /// Ids, times, usage and events stay as they were. Versions that are there already are skipped, so an import can be
    /// repeated.
    Import(ImportArgs),
}

/// Reads this process's command line. Ends the process for `--help` and `--version` (0), and if it is not understood (2).
pub fn parse() -> Command {
    let matches = definition().get_matches();
    let line = CommandLine::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    line.command.unwrap_or(Command::Serve(line.serve))
}

/// At the top, by `providers` and by `tools` the settings of `serve` are accepted, but not shown: they would bury the rest.
fn definition() -> clap::Command {
    let shown = ["config", "offline", "of", "tool"];
    let hide = |command: clap::Command| {
        command.mut_args(|argument| {
            let hidden = !shown.contains(&argument.get_id().as_str());
            argument.hide(hidden)
        })
    };
    let command = CommandLine::command().mut_args(|argument| argument.hide(true));
    command.mut_subcommand("providers", hide).mut_subcommand("tools", hide)
}

/// Runs a command that needs nothing of the service but its address.
pub fn run(client: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("cannot start: {error}")))?;
    let ended = runtime.block_on(client);
    // A thread that still waits for a line of stdin must not keep the process alive.
    runtime.shutdown_background();
    ended
}

/// Tells what went wrong, and gives the code for it: 0 done, 1 failed, 2 not understood.
pub fn exit(ended: Result<(), Failure>) -> ExitCode {
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.is_silent() {
                eprintln!("{failure}");
            }
            failure.exit_code()
        }
    }
}

#[cfg(test)]
mod tests;
