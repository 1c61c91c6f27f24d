//! Ceilings on what may be spent: by a turn, by a conversation's tree, and by all turns in a window of time. What counts is what
//! was used, to the last token, also after a restart and a kill.

use causerie::proto::{self, ErrorReason, entry::Kind, stream_events_request::Request};
use serde_json::json;
use tempfile::TempDir;
use tonic::Status;

use crate::support::{
    calls::{self, get_conversation},
    completion::{event, finish, says, silence},
    events::{assert_whole, events_of, names, run},
    forwarding::{RETRIES, asked, falling_back_to, micros, picos, start_on, with},
    process::{Process, flags},
    provider::{Reply, ScriptedProvider},
    server::{Client, TestServer, append},
    status::{assert_promised, reason_of, told},
};

/// A dollar for a million tokens read, two for a million written.
const PRICES: &str = "[providers.mistral.models.priced]\ninput_price = \"1.00\"\noutput_price = \"2.00\"\n";
/// What `Reply::text("fine")` uses: ten tokens read and one written.
const USED: i64 = 11;
/// And costs, in trillionths of a dollar.
const COST: i128 = 12_000_000;

fn tokens(max: i64) -> proto::Budget {
    proto::Budget { max_tokens: Some(max), ..Default::default() }
}

fn cost(max_micros: i32) -> proto::Budget {
    proto::Budget { max_cost: Some(micros(max_micros)), ..Default::default() }
}

/// A turn that may write ten tokens.
fn small(model: &str) -> proto::StartRequest {
    let args = proto::CompletionArgs { max_tokens: Some(10), ..Default::default() };
    proto::StartRequest { completion_args: Some(args), ..start_on(model, "Hello") }
}

fn under(budget: proto::Budget, start: proto::StartRequest) -> proto::StartRequest {
    let forwarding = proto::Forwarding { budget: Some(budget), ..start.forwarding.unwrap_or_default() };
    proto::StartRequest { forwarding: Some(forwarding), ..start }
}

async fn ask(client: &mut Client, request: Request) -> Result<proto::Turn, Status> {
    calls::run(client, "budget", request).await
}

/// Refused before money was spent: by which budget, its ceiling and what is left of it.
#[track_caller]
fn exceeded(refused: Result<proto::Turn, Status>) -> (String, String, String) {
    let status = refused.expect_err("over the budget");
    assert_eq!(reason_of(&status), "BUDGET_EXCEEDED", "{status:?}");
    assert_eq!(status.code(), tonic::Code::ResourceExhausted);
    (told(&status, "budget"), told(&status, "limit"), told(&status, "left"))
}

/// What is left of a ceiling on tokens, as the refusal of a turn that needs more says.
async fn left(client: &mut Client, request: Request) -> i64 {
    let (_, _, left) = exceeded(ask(client, request).await);
    left.strip_suffix(" tokens").and_then(|left| left.parse().ok()).unwrap_or_else(|| panic!("{left}"))
}

#[tokio::test]
async fn a_turn_that_could_pass_its_budget_is_not_begun() {
    let server = TestServer::configured(PRICES, &[]).await;
    let mut client = server.client().await;
    server.provider.on_every(Reply::text("fine"));
    let rows = [
        (tokens(5), "5 tokens"),
        (cost(1), "0.000001 USD"),
        (proto::Budget { max_tokens: Some(1_000_000), ..cost(1) }, "0.000001 USD"),
        (proto::Budget { max_tokens: Some(5), ..cost(900_000) }, "5 tokens"),
    ];
    for (budget, limit) in rows {
        let refused = ask(&mut client, Request::Start(under(budget, small("priced")))).await;
        assert_eq!(exceeded(refused), ("turn".to_owned(), limit.to_owned(), limit.to_owned()));
    }
    // Without max_tokens it could write 4096, which is then what the provider is told.
    let no_ceiling = proto::StartRequest { completion_args: None, ..small("priced") };
    exceeded(ask(&mut client, Request::Start(under(tokens(4096), no_ceiling.clone()))).await);
    let unpriced = ask(&mut client, Request::Start(under(cost(900_000), small("unpriced")))).await;
    let status = unpriced.expect_err("its price is not known");
    assert_promised(&status, ErrorReason::BudgetExceeded, "budget");
    assert_eq!(told(&status, "setting"), "providers.mistral.models.\"unpriced\".input_price");
    assert_eq!(server.provider.connections(), 0, "nothing was spent");

    let turn = ask(&mut client, Request::Start(under(tokens(4200), no_ceiling))).await.expect("it fits");
    assert_eq!(server.provider.next_request().await.json["max_tokens"], 4096);
    assert_eq!(picos(turn.cost.as_ref()), Some(COST), "ten tokens read and one written");
    ask(&mut client, Request::Start(under(tokens(100), small("unpriced")))).await.expect("tokens need no price");
    assert_eq!(server.provider.next_request().await.json["max_tokens"], 10);
    let turn = ask(&mut client, Request::Start(small("unpriced"))).await.expect("no budget");
    assert_eq!(turn.cost, None, "never a guess");
    server.stop().await;
}

#[tokio::test]
async fn all_attempts_of_a_turn_are_under_its_budget() {
    let server = TestServer::configured(PRICES, &RETRIES).await;
    let client = server.client().await;
    // Each attempt is answered and broken, so each is paid for: the second or third one has no budget left.
    let broken = Reply::raw_sse([event(&json!({"choices": []})), "data: }{\n\n".to_owned()]);
    server.provider.on_model("priced", [broken.clone()]);
    server.provider.on_model("stand-in", [Reply::text("fine")]);
    // What one attempt could take is told by the refusal of a turn that has nothing.
    let refused = events_of(&client, run(under(tokens(1), small("priced")))).await;
    let needed = told(refused.error(), "needed");
    let one: i64 = needed.strip_suffix(" tokens").and_then(|count| count.parse().ok()).expect("a number");
    let seen = events_of(&client, run(under(tokens(one), small("priced")))).await;
    assert_eq!(reason_of(seen.error()), "BUDGET_EXCEEDED");
    assert_eq!((told(seen.error(), "limit"), told(seen.error(), "needed")), (needed.clone(), needed));
    assert_eq!(names(&seen.events), ["response_started", "upstream_retry", "response_error"]);
    assert_eq!(server.provider.requests_for("priced").len(), 1);
    // What fits is spent, and added up over all models.
    let request = proto::StartRequest { forwarding: Some(falling_back_to(&["stand-in"])), ..small("priced") };
    let seen = events_of(&client, run(under(tokens(1000), request))).await;
    assert_whole(&seen.events);
    let turn = seen.turn();
    assert_eq!(asked(turn), [("priced", 3), ("stand-in", 1)]);
    let sum: i64 = turn.models.iter().map(|model| model.usage.as_ref().expect("used").total_tokens).sum();
    assert_eq!(turn.usage.as_ref().expect("used").total_tokens, sum);
    assert_eq!(turn.cost, None, "the price of one of them is not known");
    assert!(turn.models[0].cost.is_some() && turn.models[1].cost.is_none());
    server.stop().await;
}

#[tokio::test]
async fn every_turn_of_a_tree_counts_on_all_branches() {
    let mut server = TestServer::configured(PRICES, &[]).await;
    let mut client = server.client().await;
    server.provider.on_every(Reply::text("fine"));
    let start = proto::StartRequest { tree_budget: Some(tokens(10_000)), ..small("priced") };
    let root = ask(&mut client, Request::Start(start)).await.expect("fine");
    let version = get_conversation(&mut client, &root.conversation_id).await.expect("stored");
    assert_eq!(version.id, root.conversation_id);

    // Needs more than there is, so that the refusal says what is left. Nothing is spent by it.
    let args = proto::CompletionArgs { max_tokens: Some(20_000), ..Default::default() };
    let measure =
        Request::Append(proto::AppendRequest { completion_args: Some(args), ..append(&root.conversation_id, "?") });
    let mut spent = USED;
    assert_eq!(left(&mut client, measure.clone()).await, 10_000 - spent);

    let on = |store: bool| {
        Request::Append(proto::AppendRequest { store: Some(store), ..append(&root.conversation_id, "on") })
    };
    for store in [true, true, false] {
        let turn = ask(&mut client, on(store)).await.expect("fine");
        assert_eq!(turn.conversation_id.is_empty(), !store);
        spent += turn.usage.expect("used").total_tokens;
        assert_eq!(left(&mut client, measure.clone()).await, 10_000 - spent, "stored: {store}");
    }
    // One that fails after it was answered counts, a refusal does not.
    server.provider.reply(Reply::json(200, &json!({"object": "error", "code": "3000"})));
    let failed = ask(&mut client, on(true)).await.expect_err("broken");
    let failed = calls::get_turn(&mut client, &told(&failed, "turn_id")).await.expect("kept");
    let usage = failed.usage.expect("it was answered");
    assert!(usage.estimated && usage.total_tokens > 0, "{usage:?}");
    spent += usage.total_tokens;
    server.provider.reply(Reply::json(503, &json!({})));
    ask(&mut client, on(true)).await.expect_err("refused");
    assert_eq!(left(&mut client, measure.clone()).await, 10_000 - spent);

    // A version that is deleted has been paid for all the same.
    let gone = ask(&mut client, on(true)).await.expect("fine");
    spent += USED;
    calls::delete(&mut client, &gone.conversation_id, false).await.expect("deleted");
    for _ in 0..2 {
        assert_eq!(left(&mut client, measure.clone()).await, 10_000 - spent);
        server.restart().await;
        client = server.client().await;
    }
    server.stop().await;
}

#[tokio::test]
async fn a_window_counts_all_turns_that_it_covers() {
    let windows = "[[budgets]]\nname = \"all\"\nwindow = \"366d\"\nmax_tokens = 5000\n\
                   [[budgets]]\nname = \"priced-only\"\nwindow = \"366d\"\nmax_cost = \"0.0001\"\nmodel = \"priced\"\n";
    let mut server = TestServer::configured(&format!("{PRICES}{windows}"), &[]).await;
    let mut client = server.client().await;
    server.provider.on_every(Reply::text("fine"));
    let args = proto::CompletionArgs { max_tokens: Some(4900), ..Default::default() };
    let large =
        |model| Request::Start(proto::StartRequest { completion_args: Some(args.clone()), ..start_on(model, "?") });
    let mut done = 0;
    for model in ["priced", "other"] {
        for _ in 0..3 {
            ask(&mut client, Request::Start(small(model))).await.expect("it fits");
            done += 1;
        }
    }
    while done < 10 {
        ask(&mut client, Request::Start(small("other"))).await.expect("it fits");
        done += 1;
    }
    for _ in 0..2 {
        let (name, limit, left) = exceeded(ask(&mut client, large("other")).await);
        assert_eq!(
            (name.as_str(), limit.as_str(), left),
            ("all", "5000 tokens", format!("{} tokens", 5000 - done * USED))
        );
        // Three turns of 12 micro-dollars each; a fourth that could write forty tokens does not fit the rest of 100.
        let args = proto::CompletionArgs { max_tokens: Some(40), ..Default::default() };
        let fourth = proto::StartRequest { completion_args: Some(args), ..start_on("priced", "?") };
        let (name, limit, left) = exceeded(ask(&mut client, Request::Start(fourth)).await);
        assert_eq!((name.as_str(), limit.as_str(), left.as_str()), ("priced-only", "0.0001 USD", "0.000064 USD"));
        server.restart().await;
        client = server.client().await;
    }
    server.stop().await;
}

#[tokio::test]
async fn limits_and_budgets_of_a_model_hold_under_all_its_names() {
    let file = "[providers.mistral.models.mistral-small-latest]\nrequests_per_minute = 2\n\
                [[budgets]]\nname = \"large\"\nwindow = \"366d\"\nmax_tokens = 100\nmodel = \"mistral-large-latest\"\n";
    let server = TestServer::configured(file, &[("providers.mistral.max_waiting", "0")]).await;
    let mut client = server.client().await;
    server.provider.on_every(Reply::text("fine"));
    for model in ["mistral-large-2512", "mistral/mistral-large-latest"] {
        let turn = ask(&mut client, Request::Start(small(model))).await.expect("it fits");
        let name = model.trim_start_matches("mistral/");
        assert_eq!(
            (turn.model.as_str(), server.provider.next_request().await.json["model"].as_str()),
            (model, Some(name))
        );
    }
    let args = proto::CompletionArgs { max_tokens: Some(90), ..Default::default() };
    for model in ["mistral-large-2512", "mistral-large-latest"] {
        let large = proto::StartRequest { completion_args: Some(args.clone()), ..start_on(model, "?") };
        let (name, _, left) = exceeded(ask(&mut client, Request::Start(large)).await);
        assert_eq!((name, left), ("large".to_owned(), format!("{} tokens", 100 - 2 * USED)), "{model}");
    }
    ask(&mut client, Request::Start(small("mistral-large-2407"))).await.expect("another model");

    for model in ["mistral-small-2603", "mistral-small-latest"] {
        ask(&mut client, Request::Start(small(model))).await.expect("two a minute");
    }
    let refused = ask(&mut client, Request::Start(small("mistral-small-2603"))).await.expect_err("the third");
    assert_eq!(told(&refused, "limit"), "requests_per_minute");
    server.stop().await;
}

#[tokio::test]
async fn sums_add_up_along_a_history() {
    let server = TestServer::configured(PRICES, &[]).await;
    let mut client = server.client().await;
    server.provider.on_every(Reply::text("fine"));
    let mut turn = ask(&mut client, Request::Start(small("priced"))).await.expect("fine");
    for turns in 2..5 {
        turn = ask(&mut client, Request::Append(append(&turn.conversation_id, "on"))).await.expect("fine");
        let version = get_conversation(&mut client, &turn.conversation_id).await.expect("stored");
        assert_eq!(version.usage.expect("used").total_tokens, USED * turns);
        assert_eq!(picos(version.cost.as_ref()), Some(COST * i128::from(turns)));
    }
    server.stop().await;
}

/// A process that is killed while a turn runs has set aside what that could take; what ended counts as it was used.
#[tokio::test]
async fn a_kill_forgets_nothing_that_was_spent() {
    let provider = ScriptedProvider::start().await;
    let dir = TempDir::new().expect("a temporary folder");
    let flags = flags(&dir.path().join("store"), &provider.base_url());
    let process = Process::start(&flags).await;
    let mut client = process.client().await;
    provider.reply(Reply::text("fine"));
    let start = proto::StartRequest { tree_budget: Some(tokens(10_000)), ..small("priced") };
    let root = ask(&mut client, Request::Start(start)).await.expect("fine");
    provider.next_request().await;
    provider.reply(silence());
    let on = Request::Append(append(&root.conversation_id, "on"));
    let running = tokio::spawn({
        let (mut client, on) = (client.clone(), on.clone());
        async move { ask(&mut client, on).await }
    });
    provider.next_request().await;
    process.kill();
    running.await.expect("no panic").expect_err("killed");

    let process = Process::start(&flags).await;
    let mut client = process.client().await;
    let args = proto::CompletionArgs { max_tokens: Some(20_000), ..Default::default() };
    let measure = proto::AppendRequest { completion_args: Some(args), ..append(&root.conversation_id, "?") };
    let left = left(&mut client, Request::Append(measure)).await;
    let most = 10_000 - USED;
    // The turn that was killed could have written ten tokens and read a few.
    assert!((most - 100..=most - 10).contains(&left), "{left} of {most} are left");
    provider.reply(Reply::raw_sse([event(&says("fine"))]));
    process.kill();
}

#[tokio::test]
async fn what_a_failed_call_set_aside_is_given_back() {
    let server = TestServer::configured(PRICES, &with(&RETRIES, &[])).await;
    let mut client = server.client().await;
    let tool_free = |model| under(tokens(60), small(model));
    for status in [400, 503] {
        server.provider.on_model("priced", [Reply::json(status, &json!({}))]);
        let failed = ask(&mut client, Request::Start(tool_free("priced"))).await.expect_err("refused");
        // Three attempts of more than twenty each would not fit if they were added up.
        assert_ne!(reason_of(&failed), "BUDGET_EXCEEDED", "{failed:?}");
    }
    server.provider.on_model("priced", [Reply::json(503, &json!({})), Reply::text("fine")]);
    let turn = ask(&mut client, Request::Start(tool_free("priced"))).await.expect("fine");
    assert_eq!(turn.usage.expect("used").total_tokens, USED);
    assert!(matches!(turn.outputs[0].kind, Some(Kind::MessageOutput(_))));
    server.stop().await;
}

#[tokio::test]
async fn usage_that_can_t_be_right_empties_budgets_all_the_same() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let words = "word ".repeat(500);
    let answered = |usage| {
        let mut last = finish("stop");
        last["usage"] = usage;
        Reply::sse(&[says(&words), last])
    };
    let noughts = json!({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0});
    server.provider.on_model("noughts", [answered(noughts)]);
    let seven = json!({"prompt_tokens": 500, "completion_tokens": 500, "total_tokens": 7});
    server.provider.on_model("seven", [answered(seven)]);

    for (model, estimated, total) in [("noughts", true, 600..=900), ("seven", false, 1000..=1000)] {
        let start = proto::StartRequest { tree_budget: Some(tokens(600)), ..small(model) };
        let turn = ask(&mut client, Request::Start(start)).await.expect(model);
        let usage = turn.usage.expect(model);
        assert!(usage.estimated == estimated && total.contains(&usage.total_tokens), "{model}: {usage:?}");
        exceeded(ask(&mut client, Request::Append(append(&turn.conversation_id, "more"))).await);
    }
    server.stop().await;
}

/// Servers refuse a prompt and an answer that don't fit their window together.
#[tokio::test]
async fn an_answer_under_a_budget_is_bounded_by_what_its_window_has_left() {
    let window = "[providers.mistral.models.narrow]\ncontext_tokens = 2000\n";
    let server = TestServer::configured(window, &[]).await;
    let mut client = server.client().await;
    server.provider.on_every(Reply::text("fine"));
    for (model, least, most) in [("narrow", 1000, 2000), ("unknown", 4096, 4096)] {
        ask(&mut client, Request::Start(under(tokens(100_000), start_on(model, "Hello")))).await.expect(model);
        let asked = server.provider.requests_for(model);
        let bound = asked[0].json["max_tokens"].as_u64().unwrap_or_else(|| panic!("{:?}", asked[0].json));
        assert!((least..=most).contains(&bound), "{model}: {bound}");
    }
    server.stop().await;
}
