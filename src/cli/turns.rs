//! `causerie turns`: what runs, what waits and what has ended; one turn in full, to its end, or event by event.

use std::{
    io::{Write, stdout},
    str::FromStr,
    time::Duration,
};

use clap::{Args, Subcommand, ValueEnum};
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::{
    connect::{Client, Server, quick},
    failure::Failure,
    json,
    table::{line, table},
};
use crate::proto::{
    CancelTurnRequest, Event, GetTurnRequest, ListTurnsRequest, ResumeRequest, StreamEventsRequest, Turn,
    stream_events_request::Request, turn::State,
};

pub(super) const AFTER_HELP: &str = "\
TIME is a moment such as 2026-11-21T12:00:00Z, or how long ago it was: 90s, 2h, 7d. Without a command the turns are listed, and \
take the flags of `list`. --json gives every turn and event whole, one a line.

`wait` ends with exit code 0 if the turn came to its own end, 1 if it is incomplete, failed, was cancelled, or the time is over.";

/// A call waits so long for the end of a turn before it asks again: no proxy between finds it idle.
const WAIT_AT_A_TIME: Duration = Duration::from_secs(20);
/// An event's line for a person.
const MOST_OF_AN_EVENT: usize = 160;

/// What `causerie turns` takes.
#[derive(Debug, Args)]
pub struct TurnsArgs {
    #[command(flatten)]
    server: Server,
    /// As JSON Lines.
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    filter: Filter,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List turns, newest first (what `causerie turns` does without a command).
    List(Filter),
    /// Show a turn with its outputs.
    Show {
        /// Its id.
        turn: String,
    },
    /// Wait for the end of a turn.
    Wait {
        /// Its id.
        turn: String,
        /// At most so long, such as 30s or 5m. Without it: for ever.
        #[arg(long, value_name = "TIME")]
        timeout: Option<Span>,
    },
    /// Stop a turn, one that waits too.
    Cancel {
        /// Its id.
        turn: String,
    },
    /// Show the events of a turn as they happen, to its end.
    Follow {
        /// Its id.
        turn: String,
        /// Begin after this event.
        #[arg(long, value_name = "SEQUENCE", default_value_t = 0)]
        after: i64,
    },
}

/// Which turns are listed; all that is given must hold.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
struct Filter {
    /// Only turns that stand so; may be given several times.
    #[arg(long, value_enum, value_name = "STATE")]
    state: Vec<Standing>,
    /// Only turns of the tree that this version is in.
    #[arg(long, value_name = "CONVERSATION", default_value = "")]
    tree: String,
    /// Only turns of trees with this pair; may be given several times.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    metadata: Vec<(String, String)>,
    /// Only turns accepted at or after this time.
    #[arg(long, value_name = "TIME")]
    since: Option<Moment>,
    /// Only turns accepted before this time.
    #[arg(long, value_name = "TIME")]
    before: Option<Moment>,
    /// Only turns of this batch that wait or run.
    #[arg(long, value_name = "BATCH", default_value = "")]
    batch: String,
    /// At most so many; 0: all.
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    limit: usize,
}

/// Where a turn stands, as flags and tables name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Standing {
    Queued,
    Running,
    RequiresAction,
    Completed,
    Incomplete,
    Failed,
    Cancelled,
}

/// A length of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span(Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Span, String> {
        // Jiff takes no days here, whose length depends on the calendar; ours are always 24 hours.
        let days = text.strip_suffix('d').and_then(|days| days.parse::<u32>().ok());
        let span = days.map(|days| Duration::from_secs(u64::from(days) * 86_400));
        let span = span.or_else(|| text.parse::<SignedDuration>().ok()?.try_into().ok());
        span.map(Span).ok_or_else(|| "must be a length of time, such as 90s, 5m or 2h".to_owned())
    }
}

/// A moment: itself, or how long ago it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Moment(Timestamp);

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Moment, String> {
        let ago = text.parse().ok().and_then(|Span(ago)| Timestamp::now().checked_sub(ago).ok());
        let moment = ago.or_else(|| text.parse().ok());
        moment.map(Moment).ok_or_else(|| "must be a moment, such as 2026-11-21T12:00:00Z or 2h (ago)".to_owned())
    }
}

impl From<Moment> for prost_types::Timestamp {
    fn from(Moment(time): Moment) -> prost_types::Timestamp {
        prost_types::Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() }
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(key, _)| !key.is_empty());
    pair.map(|(key, value)| (key.to_owned(), value.to_owned())).ok_or_else(|| "must be KEY=VALUE".to_owned())
}

/// Does what is asked; results go to stdout.
pub async fn run(args: TurnsArgs) -> Result<(), Failure> {
    let TurnsArgs { server, json, filter, command } = args;
    if command.is_some() && filter != Filter::none() {
        return Err(Failure::usage("the flags of a list stand behind `list`, and go with no other command"));
    }
    let mut client = server.connect().await?;
    match command.unwrap_or(Command::List(filter)) {
        Command::List(filter) => list(&mut client, filter, json).await,
        Command::Show { turn } => {
            let request = GetTurnRequest { turn_id: turn, wait: None };
            let turn = client.get_turn(quick(request)).await?.into_inner();
            say(&if json { one_line("causerie.v1.Turn", &turn)? } else { whole(&turn)? })
        }
        Command::Wait { turn, timeout } => wait(&mut client, turn, timeout, json).await,
        Command::Cancel { turn } => {
            let turn = client.cancel_turn(quick(CancelTurnRequest { turn_id: turn })).await?.into_inner();
            tell(&turn, json)
        }
        Command::Follow { turn, after } => follow(&mut client, turn, after, json).await,
    }
}

async fn list(client: &mut Client, filter: Filter, json: bool) -> Result<(), Failure> {
    let Filter { state, tree, metadata, since, before, batch, limit } = filter;
    let limit = if limit == 0 { usize::MAX } else { limit };
    let mut request = ListTurnsRequest {
        page_size: i32::try_from(limit.min(1000)).unwrap_or(1000),
        page_token: String::new(),
        states: state.into_iter().map(|state| State::from(state).into()).collect(),
        tree_of: tree,
        metadata: metadata.into_iter().collect(),
        created_after: since.map(Into::into),
        created_before: before.map(Into::into),
        batch_id: batch,
    };
    let mut turns = Vec::new();
    loop {
        let page = client.list_turns(quick(request.clone())).await?.into_inner();
        turns.extend(page.turns);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() || turns.len() >= limit {
            break;
        }
    }
    turns.truncate(limit);
    if json {
        return turns.iter().try_for_each(|turn| say(&one_line("causerie.v1.Turn", turn)?));
    }
    let headings = ["id", "state", "model", "created", "attempt", "error"].map(str::to_owned);
    say(&table([headings].into_iter().chain(turns.iter().map(cells))))
}

async fn wait(client: &mut Client, turn_id: String, timeout: Option<Span>, json: bool) -> Result<(), Failure> {
    let deadline = timeout.map(|Span(timeout)| Instant::now() + timeout);
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let wait = left.map_or(WAIT_AT_A_TIME, |left| left.min(WAIT_AT_A_TIME));
        let wait = prost_types::Duration::try_from(wait).unwrap_or_default();
        let request = GetTurnRequest { turn_id: turn_id.clone(), wait: Some(wait) };
        let turn = client.get_turn(quick(request)).await?.into_inner();
        if has_ended(turn.state()) {
            tell(&turn, json)?;
            return came_to_its_end(&turn);
        }
        if left.is_some_and(|left| left.is_zero()) {
            tell(&turn, json)?;
            return Err(Failure::new("the turn has not ended"));
        }
    }
}

async fn follow(client: &mut Client, turn_id: String, after_sequence: i64, json: bool) -> Result<(), Failure> {
    let resume = ResumeRequest { turn_id, after_sequence };
    let request = StreamEventsRequest { request: Some(Request::Resume(resume)), ..StreamEventsRequest::default() };
    let mut events = client.stream_events(request).await?.into_inner();
    while let Some(event) = events.message().await? {
        // A heartbeat is none of the turn's events.
        if event.sequence > 0 {
            say(&if json { one_line("causerie.v1.Event", &event)? } else { event_line(&event)? })?;
        }
    }
    Ok(())
}

/// How a turn stands, on a line.
fn tell(turn: &Turn, json: bool) -> Result<(), Failure> {
    say(&if json { one_line("causerie.v1.Turn", turn)? } else { table([cells(turn)]) })
}

fn came_to_its_end(turn: &Turn) -> Result<(), Failure> {
    match turn.state() {
        State::Completed | State::RequiresAction => Ok(()),
        state => Err(turn
            .error
            .as_ref()
            .map_or_else(|| Failure::new(format!("the turn is {}", name(state))), Failure::of_rpc_status)),
    }
}

fn say(text: &str) -> Result<(), Failure> {
    Ok(stdout().write_all(text.as_bytes())?)
}

fn has_ended(state: State) -> bool {
    !matches!(state, State::Unspecified | State::Queued | State::Running)
}

fn cells(turn: &Turn) -> [String; 6] {
    let background = turn.background.as_ref();
    let error = turn.error.as_ref().or(background.and_then(|background| background.last_error.as_ref()));
    [
        turn.id.clone(),
        name(turn.state()),
        turn.model.clone(),
        turn.created_at.as_ref().map_or_else(|| "-".to_owned(), moment),
        background.map_or_else(
            || "-".to_owned(),
            |background| {
                let next = background.not_before.as_ref().map(|time| format!(", next {}", moment(time)));
                format!("{} of {}{}", background.attempt, background.max_attempts, next.unwrap_or_default())
            },
        ),
        error.map_or_else(|| "-".to_owned(), |error| line(&why(error))),
    ]
}

/// The reason comes first: a cell may have no room for the rest.
fn why(error: &tonic_types::pb::Status) -> String {
    let failure = Failure::of_rpc_status(error);
    match failure.reason() {
        Some(reason) => format!("{reason}: {}", error.message),
        None => error.message.clone(),
    }
}

/// To the second.
fn moment(time: &prost_types::Timestamp) -> String {
    Timestamp::from_second(time.seconds).map_or_else(|_| "-".to_owned(), |time| time.to_string())
}

fn name(state: State) -> String {
    state.as_str_name().trim_start_matches("STATE_").to_ascii_lowercase().replace('_', "-")
}

/// An event as a person reads it: its number, when, what, and the beginning of what it carries.
fn event_line(event: &Event) -> Result<String, Failure> {
    let whole = json::to_value("causerie.v1.Event", event).map_err(cannot_show)?;
    let envelope = ["sequence", "firstSequence", "createdAt", "turnId"];
    let fields = whole.as_object().into_iter().flatten();
    let kind = fields.into_iter().find(|(key, _)| !envelope.contains(&key.as_str()));
    let (kind, carried) = kind.map(|(kind, carried)| (kind.as_str(), carried.to_string())).unwrap_or_default();
    let cut = if carried.chars().count() > MOST_OF_AN_EVENT { "…" } else { "" };
    let carried: String = carried.chars().take(MOST_OF_AN_EVENT).chain(cut.chars()).collect();
    let at = whole["createdAt"].as_str().unwrap_or("-");
    Ok(format!("{:>6}  {at}  {kind}  {carried}\n", event.sequence))
}

fn whole(turn: &Turn) -> Result<String, Failure> {
    json::to_text("causerie.v1.Turn", turn).map_err(cannot_show)
}

fn one_line(of: &str, message: &impl prost::Message) -> Result<String, Failure> {
    Ok(json::to_line_of(of, message).map_err(cannot_show)? + "\n")
}

fn cannot_show(error: json::JsonError) -> Failure {
    Failure::new(format!("what the server sent cannot be shown: {error}"))
}

impl Filter {
    /// What lets everything through.
    fn none() -> Filter {
        Filter {
            state: Vec::new(),
            tree: String::new(),
            metadata: Vec::new(),
            since: None,
            before: None,
            batch: String::new(),
            limit: 50,
        }
    }
}

impl From<Standing> for State {
    fn from(state: Standing) -> State {
        match state {
            Standing::Queued => State::Queued,
            Standing::Running => State::Running,
            Standing::RequiresAction => State::RequiresAction,
            Standing::Completed => State::Completed,
            Standing::Incomplete => State::Incomplete,
            Standing::Failed => State::Failed,
            Standing::Cancelled => State::Cancelled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_tables_name_states_alike() {
        for state in Standing::value_variants() {
            let flag = state.to_possible_value().expect("none is hidden");
            assert_eq!(flag.get_name(), name(State::from(*state)));
        }
    }

    #[test]
    fn moments_are_times_or_lengths_of_time() {
        let noon = "2026-11-21T12:00:00Z";
        assert_eq!(noon.parse::<Moment>().map(|Moment(time)| time.to_string()), Ok(noon.to_owned()));
        for (text, seconds) in [("90s", 90), ("2h", 7200), ("7d", 604_800), ("1m 30s", 90)] {
            assert_eq!(text.parse::<Span>(), Ok(Span(Duration::from_secs(seconds))), "{text}");
            assert!(text.parse::<Moment>().is_ok(), "{text}");
        }
        for text in ["", "yesterday", "-5s", "12"] {
            assert!(text.parse::<Moment>().is_err(), "{text}");
        }
    }

    #[test]
    fn pairs_have_a_key() {
        assert_eq!(pair("user=ann=b"), Ok(("user".to_owned(), "ann=b".to_owned())));
        assert!(pair("user").is_err() && pair("=x").is_err());
    }
}
