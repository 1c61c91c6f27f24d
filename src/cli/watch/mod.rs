//! `causerie watch`: follows what happens on a server, over lost connections.

mod line;
mod told;

use std::{
    collections::BTreeMap,
    io::{Write, stdout},
    time::Duration,
};

use clap::{Args, ValueEnum};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use self::{line::Lines, told::Told};
use super::{
    agents,
    connect::{Agents, Client, Server, Watch, quick},
    failure::Failure,
};
use crate::proto::{
    ChangeFilter, ChangeKind, GetConversationRequest, GetRevisionsRequest, WatchRequest, WatchResponse,
    watch_request::Start,
};

pub(super) const AFTER_HELP: &str = "\
  causerie watch --from-oldest --no-follow            all that is kept
  causerie watch --kind version-deleted               deletes, from now on
  causerie watch --tree conv_… --events               a conversation, word by word
  causerie watch --json | jq -r 'select(.type == \"turn.failed\") | .turnId'

Changes are kept for a while (watch.retention, watch.max_mib of the server): older revisions are refused with REVISION_GONE.";

/// What `causerie watch` takes.
#[derive(Debug, Args)]
pub struct WatchArgs {
    #[command(flatten)]
    server: Server,
    /// Begin after this revision; without it, with what happens from now on.
    #[arg(long, value_name = "REVISION", conflicts_with = "from_oldest", value_parser = clap::value_parser!(i64).range(0..))]
    after_revision: Option<i64>,
    /// Begin with the oldest change that is kept.
    #[arg(long)]
    from_oldest: bool,
    /// End when everything was told that had happened at the start.
    #[arg(long)]
    no_follow: bool,
    /// Only one conversation, with all its versions: the id of any of them, or of the first one if that is gone.
    #[arg(long, value_name = "CONVERSATION_ID")]
    tree: Option<String>,
    /// Only this model.
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Only this agent: its id, or a name that only one has.
    #[arg(long, value_name = "AGENT")]
    agent: Option<String>,
    /// Only conversations with this pair; several must all be there.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    metadata: Vec<(String, String)>,
    /// Only this kind; several: any of them.
    #[arg(long, value_name = "KIND")]
    kind: Vec<Kind>,
    /// The events of turns, too, as they happen; a # and their sequence stand in place of a revision.
    #[arg(long)]
    events: bool,
    /// JSON Lines: each change, and with --events each event, in protobuf's JSON.
    #[arg(long)]
    json: bool,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    TurnQueued,
    TurnStarted,
    TurnRequeued,
    TurnEnded,
    VersionCreated,
    VersionDeleted,
    BatchEnded,
}

impl From<Kind> for ChangeKind {
    fn from(kind: Kind) -> ChangeKind {
        match kind {
            Kind::TurnQueued => ChangeKind::TurnQueued,
            Kind::TurnStarted => ChangeKind::TurnStarted,
            Kind::TurnRequeued => ChangeKind::TurnRequeued,
            Kind::TurnEnded => ChangeKind::TurnEnded,
            Kind::VersionCreated => ChangeKind::VersionCreated,
            Kind::VersionDeleted => ChangeKind::VersionDeleted,
            Kind::BatchEnded => ChangeKind::BatchEnded,
        }
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("must be KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Follows until Ctrl-C, or with `--no-follow` to the newest change; says how to go on from there.
pub async fn run(args: WatchArgs) -> Result<(), Failure> {
    let (mut client, conversations, agents) = args.server.connect_watch().await?;
    let until = match args.no_follow {
        true => Some(client.get_revisions(quick(GetRevisionsRequest {})).await?.into_inner().newest),
        false => None,
    };
    let start = match (args.after_revision, args.from_oldest) {
        (Some(revision), _) => Some(Start::AfterRevision(revision)),
        (None, true) => Some(Start::FromOldest(true)),
        (None, false) => None,
    };
    let lines = Lines { json: args.json };
    let include_events = args.events;
    let filter = Some(filter(args, conversations, agents).await?);
    let request = WatchRequest { start, filter, include_events };
    let mut following = Following { request, until, told: Told::default(), lines, revision: None, failures: 0 };
    let ended = tokio::select! {
        ended = following.follow(&mut client) => ended,
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    if let (Ok(()), Some(revision)) = (&ended, following.revision) {
        eprintln!("read up to revision {revision}; go on from there with --after-revision {revision}");
    }
    ended
}

async fn filter(args: WatchArgs, conversations: Client, mut agents: Agents) -> Result<ChangeFilter, Failure> {
    let WatchArgs { tree, model, agent, metadata, kind, .. } = args;
    let agent_id = match agent {
        Some(hosted) if hosted.contains("ag_") => hosted,
        Some(agent) => agents::find(&mut agents, &agent).await?,
        None => String::new(),
    };
    Ok(ChangeFilter {
        root_id: match tree {
            Some(id) => root(conversations, id).await?,
            None => String::new(),
        },
        model: model.unwrap_or_default(),
        agent_id,
        metadata: BTreeMap::from_iter(metadata),
        kinds: kind.into_iter().map(|kind| ChangeKind::from(kind).into()).collect(),
        ..ChangeFilter::default()
    })
}

/// The first version of a tree. One that is gone can be named by that alone.
async fn root(mut client: Client, conversation_id: String) -> Result<String, Failure> {
    let request = GetConversationRequest { conversation_id: conversation_id.clone() };
    match client.get_conversation(quick(request)).await {
        Ok(found) => Ok(found.into_inner().root_id),
        Err(status) if status.code() == Code::NotFound => Ok(conversation_id),
        Err(status) => Err(status.into()),
    }
}

/// The first wait before a lost server is asked again. It doubles each time.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

struct Following {
    /// Begins where the last message ended.
    request: WatchRequest,
    /// The revision to end at.
    until: Option<i64>,
    told: Told,
    lines: Lines,
    /// All changes up to here were told.
    revision: Option<i64>,
    /// Attempts in a row that came to nothing.
    failures: u32,
}

/// Why a stream ended.
enum End {
    /// All was told that was wanted.
    Done,
    /// The server is away; its status.
    Lost(Status),
}

impl Following {
    async fn follow(&mut self, client: &mut Watch) -> Result<(), Failure> {
        loop {
            let lost = match self.read(client).await? {
                End::Done => return Ok(()),
                End::Lost(status) => status,
            };
            let Some(revision) = self.revision else { return Err(lost.into()) };
            let wait = (FIRST_WAIT * 2u32.saturating_pow(self.failures)).min(LONGEST_WAIT);
            self.failures = (self.failures + 1).min(16);
            let why = Failure::from(lost);
            eprintln!("{}; going on after revision {revision} in {:.1} s", why.text(), wait.as_secs_f64());
            tokio::time::sleep(wait).await;
        }
    }

    /// Reads one stream to its end.
    async fn read(&mut self, client: &mut Watch) -> Result<End, Failure> {
        let mut stream = match client.watch(self.request.clone()).await {
            Ok(answer) => answer.into_inner(),
            Err(status) => return lost(status),
        };
        loop {
            let message = match stream.message().await {
                Ok(Some(message)) => message,
                Ok(None) => return Ok(End::Lost(Status::unavailable("the server ended the stream"))),
                Err(status) => return lost(status),
            };
            if self.failures > 0 {
                self.failures = 0;
                eprintln!("connected again");
            }
            self.tell(message)?;
            if self.until.is_some_and(|until| self.revision >= Some(until)) {
                return Ok(End::Done);
            }
        }
    }

    fn tell(&mut self, message: WatchResponse) -> Result<(), Failure> {
        let WatchResponse { changes, events, revision } = message;
        let mut out = stdout().lock();
        for event in events.iter().filter(|event| self.told.is_new(event)) {
            writeln!(out, "{}", self.lines.event(event)?)?;
        }
        for change in &changes {
            writeln!(out, "{}", self.lines.change(change)?)?;
        }
        out.flush()?;
        // A turn's last events come no later than the change that tells its end, and may come before it.
        if self.revision < Some(revision) {
            self.told.forget_ended();
        }
        self.revision = Some(revision);
        self.request.start = Some(Start::AfterRevision(revision));
        Ok(())
    }
}

/// Whether the server may come back; else why it refuses.
fn lost(status: Status) -> Result<End, Failure> {
    let of_the_service = status.get_details_error_info().is_some();
    let comes_back = match status.code() {
        Code::Unavailable | Code::ResourceExhausted => true,
        // What a connection that breaks looks like.
        Code::Unknown | Code::Internal | Code::Cancelled => !of_the_service,
        _ => false,
    };
    if comes_back { Ok(End::Lost(status)) } else { Err(status.into()) }
}
