//! Many callers for a while, at a provider that fails every fifth time in mixed ways. `CAUSERIE_SOAK_SECONDS` says for how long
//! (default 5).

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use causerie::proto::{self, stream_events_request::Request, turn::State};
use futures_util::future::join_all;
use serde_json::json;
use tokio::time::Instant;
use tonic::Status;

use crate::support::{
    calls::{self, get_turn, list_all},
    completion::{event, says},
    events::{assert_gapless, assert_whole, done},
    forwarding::{picos, start_on},
    provider::Reply,
    random::Dice,
    server::{Client, TestServer, append},
    status::{reason_of, told},
};

const CALLERS: usize = 200;
const MODELS: usize = 8;
const CONNECTIONS: usize = 8;
const TREE_TOKENS: i64 = 100_000_000;
const WINDOW_TOKENS: i64 = 400_000_000;
/// More than any budget has.
const TOO_MANY: i32 = 500_000_000;

const SETTINGS: [(&str, &str); 6] = [
    ("retry.max_attempts", "2"),
    ("retry.base_delay", "1ms"),
    ("retry.max_delay", "10ms"),
    ("breaker.enabled", "true"),
    ("providers.mistral.idle_timeout", "1s"),
    ("turns.max_in_flight", "10000"),
];

/// What a caller has seen.
#[derive(Default)]
struct Seen {
    turns: BTreeSet<String>,
    /// A version of its tree.
    newest: Option<String>,
    answers: usize,
    failures: usize,
}

/// Ten of fifty fail.
fn replies() -> Vec<Reply> {
    let some = || event(&says("some "));
    let error = json!({"object": "error", "message": "no", "code": "3000"});
    let failures = vec![
        Reply::json(503, &json!({"message": "no"})),
        Reply::json(429, &json!({"message": "no"})).header("retry-after", "0"),
        Reply::raw_sse(["data: {\"choi"]).cut_after(1),
        Reply::raw_sse([some(), "never".to_owned()]).cut_after(1),
        Reply::raw_sse([some()]).stall(),
        Reply::raw_sse(["data: }{\n\n"]),
        Reply::hang_up(),
        Reply::plain(502, "text/html", "<h1>Bad Gateway</h1>"),
        Reply::json(200, &error),
        Reply::raw_sse([some(), format!("data: {error}\n\n")]),
    ];
    let fine = || Reply::text("All is well that ends well");
    failures.into_iter().flat_map(|failure| [fine(), fine(), failure, fine(), fine()]).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_and_nothing_counted_twice_while_a_provider_fails() {
    let seconds = std::env::var("CAUSERIE_SOAK_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    let prices: String = (0..MODELS).map(price).collect();
    let window = format!("[[budgets]]\nname = \"all\"\nwindow = \"366d\"\nmax_tokens = {WINDOW_TOKENS}\n");
    let mut server = TestServer::configured(&format!("{prices}{window}"), &SETTINGS).await;
    server.provider.on_every_in_turn(replies());
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(server.client().await);
    }
    let until = Instant::now() + Duration::from_secs(seconds);
    let callers = (0..CALLERS).map(|caller| tokio::spawn(call(clients[caller % CONNECTIONS].clone(), caller, until)));
    let seen: Vec<Seen> = join_all(callers).await.into_iter().map(|seen| seen.expect("no panic")).collect();
    let sum = |of: fn(&Seen) -> usize| seen.iter().map(of).sum::<usize>();
    let (answers, failures, asked) =
        (sum(|seen| seen.answers), sum(|seen| seen.failures), server.provider.requests().len());
    println!("{answers} answers and {failures} failures in {seconds} s, {asked} requests of the provider");
    assert!(answers > CALLERS && failures > 0, "it was a soak");

    let mut client = clients.swap_remove(0);
    let turns = turns(&mut client, &seen).await;
    check_request_ids(&turns);
    let versions: BTreeSet<String> = list_all(&mut client).await.into_iter().map(|version| version.id).collect();
    let told: BTreeSet<String> =
        turns.values().map(|turn| turn.conversation_id.clone()).filter(|id| !id.is_empty()).collect();
    assert_eq!(versions, told, "every version is one that somebody was told of, and the other way round");
    for restarts in 0..2 {
        check_budgets(&mut client, &seen, &turns, restarts).await;
        drop(client);
        server.restart().await;
        client = server.client().await;
    }
    // Fails if a turn, a task or a connection is left behind.
    server.stop().await;
}

fn price(model: usize) -> String {
    format!("[providers.mistral.models.soak-{model}]\ninput_price = \"0.30\"\noutput_price = \"0.90\"\n")
}

/// One caller: a conversation of its own, and a new request when the one before has ended.
async fn call(client: Client, caller: usize, until: Instant) -> Seen {
    let mut dice = Dice::new(caller as u64);
    let mut seen = Seen::default();
    let mut count = 0;
    while Instant::now() < until {
        count += 1;
        let request_id = format!("soak-{caller}-{count}");
        let request = request(&seen, caller, &request_id);
        // Every third request is sent twice at once, every fourth again when it has ended.
        let copies = if dice.one_in(3) { 2 } else { 1 };
        let streamed = dice.one_in(2);
        let calls = (0..copies).map(|copy| ask(client.clone(), request.clone(), streamed ^ (copy == 1)));
        for ended in join_all(calls).await {
            take(&mut seen, ended);
        }
        if dice.one_in(4) {
            take(&mut seen, ask(client.clone(), request, streamed).await);
        }
    }
    seen
}

fn request(seen: &Seen, caller: usize, request_id: &str) -> Request {
    let args = proto::CompletionArgs { max_tokens: Some(20), ..Default::default() };
    match &seen.newest {
        Some(version) => {
            Request::Append(proto::AppendRequest { request_id: request_id.to_owned(), ..append(version, "And then?") })
        }
        None => Request::Start(proto::StartRequest {
            request_id: request_id.to_owned(),
            completion_args: Some(args),
            tree_budget: Some(proto::Budget { max_tokens: Some(TREE_TOKENS), ..Default::default() }),
            ..start_on(&format!("soak-{}", caller % MODELS), "Tell me a tale")
        }),
    }
}

/// Runs a turn; what came of it.
async fn ask(mut client: Client, request: Request, streamed: bool) -> Result<proto::Turn, Status> {
    if !streamed {
        return calls::run(&mut client, "soak", request).await;
    }
    let (events, end) = calls::watch(&mut client, "soak", request).await;
    match end {
        Ok(()) => {
            assert_whole(&events);
            Ok(done(&events).expect("the last event").clone())
        }
        Err(status) => {
            if !events.is_empty() {
                assert_gapless(&events, 1);
            }
            Err(status)
        }
    }
}

fn take(seen: &mut Seen, ended: Result<proto::Turn, Status>) {
    match ended {
        Ok(turn) => {
            seen.answers += 1;
            seen.newest = Some(turn.conversation_id.clone());
            seen.turns.insert(turn.id);
        }
        Err(status) => {
            let known = ["SERVICE_UNAVAILABLE", "RATE_LIMIT_EXCEEDED", "UPSTREAM_PROTOCOL_ERROR", "TIMEOUT"];
            assert!(known.contains(&reason_of(&status).as_str()), "{status:?}");
            seen.failures += 1;
            seen.turns.insert(told(&status, "turn_id"));
        }
    }
}

/// All turns that somebody was told of: each has ended.
async fn turns(client: &mut Client, seen: &[Seen]) -> BTreeMap<String, proto::Turn> {
    let mut turns = BTreeMap::new();
    for id in seen.iter().flat_map(|seen| &seen.turns) {
        let turn = get_turn(client, id).await.unwrap_or_else(|status| panic!("{id}: {status:?}"));
        let has_version = match turn.state() {
            State::Completed | State::Incomplete => true,
            State::Failed => false,
            other => panic!("{id} is {other:?}"),
        };
        assert_eq!(!turn.conversation_id.is_empty(), has_version, "{turn:?}");
        turns.insert(id.clone(), turn);
    }
    turns
}

/// However often a request came: one turn of it made a version.
fn check_request_ids(turns: &BTreeMap<String, proto::Turn>) {
    let mut versions: HashMap<&str, Vec<&str>> = HashMap::new();
    for turn in turns.values().filter(|turn| !turn.conversation_id.is_empty()) {
        assert!(turn.request_id.starts_with("soak-"), "{turn:?}");
        versions.entry(&turn.request_id).or_default().push(&turn.id);
    }
    let twice: Vec<_> = versions.iter().filter(|(_, turns)| turns.len() > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
}

/// What is left of each budget is what the turns have not used.
async fn check_budgets(client: &mut Client, seen: &[Seen], turns: &BTreeMap<String, proto::Turn>, restarts: usize) {
    let used = |turn: &proto::Turn| turn.usage.as_ref().map_or(0, |usage| usage.total_tokens);
    let mut trees = 0;
    for seen in seen {
        let Some(version) = &seen.newest else { continue };
        let mine = || seen.turns.iter().map(|id| &turns[id]);
        // A Start that failed has made no tree.
        let spent: i64 = mine()
            .filter(|turn| turn.state() != State::Failed || !turn.parent_conversation_id.is_empty())
            .map(used)
            .sum();
        assert_eq!(
            left(client, version, "tree").await,
            TREE_TOKENS - spent,
            "{restarts} restarts: the tree of {version}"
        );
        trees += 1;
        for turn in mine().filter(|turn| used(turn) > 0) {
            let usage = turn.usage.as_ref().expect("used");
            let cost = i128::from(usage.prompt_tokens) * 300_000 + i128::from(usage.completion_tokens) * 900_000;
            assert_eq!(picos(turn.cost.as_ref()), Some(cost), "{turn:?}");
        }
    }
    assert!(trees > CALLERS / 2, "{trees} trees");
    let spent: i64 = turns.values().map(used).sum();
    let refused = client.start(large(start_on("soak-0", "?"))).await.expect_err("over the budget");
    assert_eq!(left_in(&refused, "all"), WINDOW_TOKENS - spent, "{restarts} restarts: the window");
}

fn large(start: proto::StartRequest) -> proto::StartRequest {
    let args = proto::CompletionArgs { max_tokens: Some(TOO_MANY), ..Default::default() };
    proto::StartRequest { completion_args: Some(args), ..start }
}

/// What is left of a budget, as the refusal of a turn says that needs more.
async fn left(client: &mut Client, version: &str, budget: &str) -> i64 {
    let args = proto::CompletionArgs { max_tokens: Some(TOO_MANY), ..Default::default() };
    let request = proto::AppendRequest { completion_args: Some(args), ..append(version, "?") };
    left_in(&client.append(request).await.expect_err("over the budget"), budget)
}

fn left_in(refused: &Status, budget: &str) -> i64 {
    assert_eq!(
        (reason_of(refused).as_str(), told(refused, "budget").as_str()),
        ("BUDGET_EXCEEDED", budget),
        "{refused:?}"
    );
    let left = told(refused, "left");
    left.strip_suffix(" tokens").and_then(|left| left.parse().ok()).unwrap_or_else(|| panic!("{left}"))
}
