//! `causerie batch`: many prompts or turns from a file, and what came of them as JSON Lines.
//!
//! The batch's request id is made of what is sent, so that the same command finds the same batch again; the results that a file
//! has are not asked for again.

mod input;
mod output;
mod run;
mod show;

use std::path::PathBuf;

use clap::Args;

use super::{
    connect::{Server, quick},
    failure::Failure,
};
use crate::proto::{CancelBatchRequest, GetBatchRequest};

/// What stands below the help.
pub const AFTER_HELP: &str = "\
A line of FILE is a prompt or a turn:
  \"Why is the sky blue?\"
  {\"prompt\": \"Why is the sky blue?\"}
  {\"model\": \"mistral-small-latest\", \"input\": \"Why?\", \"metadata\": {\"row\": \"3\"}}
  {\"conversationId\": \"conv_…\", \"input\": \"And at night?\"}
Turns are StartRequest, AppendRequest, RestartRequest or BatchItem in protobuf's JSON. The index of a result is the number of
its line less one.

A line of the output:
  {\"batch\":\"batch_…\",\"sequence\":1,\"index\":0,\"state\":\"COMPLETED\",\"turn\":\"turn_…\",\"conversation\":\"conv_…\",
   \"text\":\"…\",\"usage\":{\"promptTokens\":9,\"completionTokens\":40,\"totalTokens\":49},\"cost\":\"0.000012\"}
and an \"error\" with reason and message where there is one.

The batch goes on on the server when this command is interrupted. The same command with the same file finds it again, sends what
was not sent, and appends to --output what is not there.

Exit codes: 0 all items went well, 1 some failed or were cancelled, or the command did, 2 not understood.";

/// What `causerie batch` takes.
#[derive(Debug, Args)]
pub struct BatchArgs {
    #[command(flatten)]
    server: Server,
    /// JSON Lines, each a prompt or a turn. `-` is stdin. Checked whole before anything is sent.
    #[arg(required_unless_present_any = ["status", "cancel", "list"])]
    file: Option<PathBuf>,
    /// The model of new conversations that name neither a model nor an agent.
    #[arg(long, value_name = "NAME", env = "CAUSERIE_MODEL", hide_env_values = true, conflicts_with = "agent")]
    model: Option<String>,
    /// Their agent.
    #[arg(long, value_name = "ID")]
    agent: Option<String>,
    /// How many items may run at once, 1 to 1000; the server has limits of its own.
    #[arg(long, value_name = "N", default_value_t = 8)]
    concurrency: i32,
    /// -100 to 100: what has a higher one is run before.
    #[arg(long, value_name = "N", default_value_t = 0, allow_hyphen_values = true)]
    priority: i32,
    /// Where the results go, each appended as it comes. `-` is stdout.
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// Show how a batch stands.
    #[arg(long, value_name = "BATCH", conflicts_with_all = ["file", "cancel", "list"])]
    status: Option<String>,
    /// Stop a batch: what waits is cancelled, what runs is stopped.
    #[arg(long, value_name = "BATCH", conflicts_with_all = ["file", "list"])]
    cancel: Option<String>,
    /// List batches, newest first.
    #[arg(long, conflicts_with = "file")]
    list: bool,
}

/// Runs a batch, or tells of some.
pub async fn run(args: BatchArgs) -> Result<(), Failure> {
    let BatchArgs { server, file, model, agent, concurrency, priority, output, status, cancel, list } = args;
    if let Some(file) = file {
        let lead = input::Lead { model, agent };
        return run::run(&server, run::Asked { file, lead, concurrency, priority, output }).await;
    }
    let mut client = server.connect_batches().await?;
    let text = if list {
        show::list(&mut client).await?
    } else if let Some(batch_id) = cancel {
        show::batch(&client.cancel_batch(quick(CancelBatchRequest { batch_id })).await?.into_inner())
    } else {
        let batch_id = status.unwrap_or_default();
        show::batch(&client.get_batch(quick(GetBatchRequest { batch_id })).await?.into_inner())
    };
    std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes())?;
    Ok(())
}
