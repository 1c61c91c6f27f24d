mod ground;

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use tokio::task::JoinSet;

use self::ground::*;
use super::*;
use crate::{
    domain::{Money, TurnState},
    store::{Commit, Ending},
};

#[tokio::test]
async fn each_refusal_says_which_budget_and_what_is_left() {
    let ground = Ground::new().await;
    let at = Time { unix_us: 5_400_000_001 };
    let hour = |ceiling: Option<Budget>| {
        let ceiling = ceiling.expect("a budget");
        vec![WindowBudget { ceiling, ..window("team", 3600, 0) }]
    };
    let priceless = Call { cost: None, ..call(900) };
    let setting = "providers.mistral.models.\"small-1\".input_price";
    let rows = [
        (tokens(1000), None, vec![], call(900), "the turn's budget is 1000 tokens, 200 tokens are left", None),
        (None, tokens(1000), vec![], call(900), "the tree's budget is 1000 tokens, 200 tokens are left", None),
        (None, dollars(1000), vec![], call(900), "the tree's budget is 0.000000001 USD", None),
        (None, None, hour(tokens(1000)), call(900), "budget \"team\" is 1000 tokens, 200 tokens", Some(1_800_000)),
        // No window will ever have room for it.
        (None, None, hour(tokens(1000)), call(1001), "the call could take 1001 tokens", None),
        (dollars(2000), None, vec![], priceless, setting, None),
        (None, None, hour(dollars(2000)), priceless, setting, None),
    ];
    for (turn_budget, tree_budget, windows, asked, text, retry_after_ms) in rows {
        let budgets = ground.budgets(windows);
        let mut purse = budgets.purse(turn(), ground.root, turn_budget, tree_budget);
        purse.reserve_at(call(800), || at).await.expect("there is room");
        purse.settle(800, Some(Money::new(0, 800)));
        let failure = purse.reserve_at(asked, || at).await.expect_err(text);
        assert_eq!((failure.reason, failure.retry_after_ms), (Reason::BudgetExceeded, retry_after_ms), "{failure}");
        assert!(failure.message.contains(text), "{failure}");
        for (_, value) in &failure.metadata {
            let known = ["turn", "tree", "team"].contains(&value.as_str());
            assert!(known || failure.message.contains(value), "{value}: {failure}");
        }
        // Nothing changed.
        assert!(purse.charges().iter().all(|charge| charge.spent.tokens == 800 && !charge.reserved));
        purse.reserve_at(call(200), || at).await.expect("there is room for so many");
        let nothing = purse.charges().into_iter().map(|charge| Charge { spent: Spent::default(), ..charge });
        ground.store.charge(&nothing.collect::<Vec<_>>()).await.expect("charged");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn turns_that_race_never_pass_a_ceiling() {
    let ground = Ground::new().await;
    // Neither is known: one turn reads them, the others wait.
    let before = [charge(&ground.account(), 30), charge(&forever(), 100)];
    ground.store.charge(&before).await.expect("charged");
    let budgets = ground.budgets(vec![window("forever", u64::MAX >> 24, 1200)]);
    let mut turns = JoinSet::new();
    for _ in 0..200 {
        let mut purse = budgets.purse(turn(), ground.root, tokens(100), tokens(1000));
        turns.spawn(async move { purse.reserve(call(7)).await.map(|()| purse) });
    }
    let done = turns.join_all().await;
    let mut purses: Vec<Purse> = done.into_iter().filter_map(Result::ok).collect();
    assert_eq!(purses.len(), (1000 - 30) / 7);
    assert_eq!((ground.spent(), counted(&budgets, &ground.account())), (30 + 138 * 7, 30 + 138 * 7));
    // Half of them used 5 less, and the others nothing.
    for (index, purse) in purses.iter_mut().enumerate() {
        match index % 2 {
            0 => purse.settle(2, Some(Money::new(0, 2))),
            _ => purse.release(),
        }
        ground.store.charge(&purse.charges()).await.expect("charged");
    }
    assert_eq!((ground.spent(), counted(&budgets, &ground.account())), (30 + 69 * 2, 30 + 69 * 2));
    assert_eq!(ground.store.spent(&forever()).expect("readable").tokens, 100 + 69 * 2);
    let mut purse = budgets.purse(turn(), ground.root, None, tokens(1000));
    assert_eq!(left(purse.reserve(call(833)).await.expect_err("a token too many")), "832 tokens");
    purse.reserve(call(832)).await.expect("there is room");
}

#[tokio::test]
async fn what_is_left_is_looked_at_and_taken_in_one_step() {
    let ground = Ground::new().await;
    let budgets = ground.budgets(Vec::new());
    let id = turn();
    let balance = budgets.inner.balance(&Account::Tree(id.conversation()));
    budgets.inner.load(&balance).await.expect("readable");
    let holders = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                // The first turn of a tree waits for nothing once the sum is known.
                let mut purse = budgets.purse(id, id.conversation(), None, tokens(1));
                for _ in 0..20_000 {
                    let reserved = pin!(purse.reserve(call(1))).poll(&mut Context::from_waker(Waker::noop()));
                    match reserved {
                        Poll::Ready(Ok(())) => {
                            assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0, "one at a time");
                            holders.fetch_sub(1, Ordering::SeqCst);
                            purse.release();
                        }
                        Poll::Ready(Err(failure)) => assert_eq!(failure.reason, Reason::BudgetExceeded),
                        Poll::Pending => panic!("it waits"),
                    }
                }
            });
        }
    });
    assert_eq!(balance.taken(), Spent::default());
}

fn forever() -> Account {
    Account::Window { name: "forever".into(), start: Time::default() }
}

fn charge(account: &Account, tokens: u64) -> Charge {
    let spent = Spent { tokens, cost: Money::ZERO };
    Charge { account: account.clone(), turn: turn(), spent, reserved: false }
}

#[tokio::test]
async fn calls_of_a_turn_add_up_and_may_use_more_or_less_than_was_set_aside() {
    let ground = Ground::new().await;
    let budgets = ground.budgets(Vec::new());
    let (id, account) = (turn(), ground.account());
    let mut purse = budgets.purse(id, ground.root, tokens(1000), tokens(2000));
    let mut expected = 0;
    for (reserved, used) in [(300, Some(100)), (300, Some(400)), (100, None), (50, Some(50))] {
        purse.reserve(call(reserved)).await.expect("there is room");
        assert_eq!((ground.spent(), counted(&budgets, &account)), (expected + reserved, expected + reserved));
        match used {
            Some(used) => purse.settle(used, None),
            None => purse.release(),
        }
        expected += used.unwrap_or(0);
        assert_eq!(counted(&budgets, &account), expected);
        let [Charge { spent, turn, reserved: false, .. }] = &purse.charges()[..] else { panic!("one account") };
        assert_eq!((spent.tokens, *turn), (expected, id));
    }
    // What it costs is not known: what was set aside counts.
    assert_eq!(purse.charges()[0].spent.cost, Money::new(0, 650));
    assert_eq!(left(purse.reserve(call(451)).await.expect_err("a token too many")), "450 tokens");
    // A call that is never settled may have been billed.
    purse.reserve(call(200)).await.expect("there is room");
    purse.reserve(call(250)).await.expect("there is room");
    assert_eq!((ground.spent(), counted(&budgets, &account)), (1000, 1000));
    let charges = purse.charges();
    assert!(charges[0].reserved);
    let ending =
        Ending { at: Time::default(), root_id: ground.root, labels: Vec::new(), callback_url: None, job: None };
    ground.store.commit_failed(ended(id, TurnState::Cancelled), ending, &charges).await.expect("committed");
    drop(purse);
    assert_eq!((ground.spent(), counted(&budgets, &account)), (1000, 1000));
    let ground = ground.reopen_without(budgets);
    let budgets = ground.budgets(Vec::new());
    let mut purse = budgets.purse(turn(), ground.root, None, tokens(2000));
    assert_eq!(left(purse.reserve(call(1001)).await.expect_err("what was spent is known")), "1000 tokens");
}

impl Ground {
    /// The budgets have a handle of the store.
    fn reopen_without(self, budgets: Budgets) -> Ground {
        drop(budgets);
        self.reopen()
    }
}

/// Polls once.
async fn begin<F: Future + ?Sized>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
}

#[tokio::test]
async fn whenever_a_turn_is_dropped_the_sums_stay_true() {
    let ground = Ground::new().await;
    let (budgets, account) = (ground.budgets(Vec::new()), ground.account());
    let purse = || budgets.purse(turn(), ground.root, None, tokens(1000));
    // While the account is read.
    let mut early = purse();
    assert!(begin(pin!(early.reserve(call(10)))).await.is_pending());
    assert!(early.charges().is_empty());
    drop(early);
    assert_eq!((ground.spent(), counted(&budgets, &account)), (0, 0));
    budgets.inner.load(&budgets.inner.balance(&account)).await.expect("readable");
    // While it becomes durable: the call is not made, and the commit takes the row back.
    let mut half = purse();
    assert!(begin(pin!(half.reserve(call(20)))).await.is_pending());
    assert_eq!((ground.spent(), counted(&budgets, &account)), (20, 0));
    ground.store.charge(&half.charges()).await.expect("charged");
    drop(half);
    assert_eq!((ground.spent(), counted(&budgets, &account)), (0, 0));
    // While the call is made.
    let mut reserved = purse();
    reserved.reserve(call(40)).await.expect("there is room");
    drop(reserved);
    assert_eq!((ground.spent(), counted(&budgets, &account)), (40, 40));
    // After it; the store knows of what was set aside until a commit.
    let mut settled = purse();
    settled.reserve(call(80)).await.expect("there is room");
    settled.settle(70, None);
    ground.store.charge(&settled.charges()).await.expect("charged");
    drop(settled);
    let mut released = purse();
    released.reserve(call(160)).await.expect("there is room");
    released.release();
    ground.store.charge(&released.charges()).await.expect("charged");
    drop(released);
    assert_eq!((ground.spent(), counted(&budgets, &account)), (110, 110));
    let mut lost = purse();
    lost.reserve(call(320)).await.expect("there is room");
    lost.settle(1, None);
    drop(lost);
    let ground = ground.reopen_without(budgets);
    assert_eq!(ground.spent(), 430);
}

#[tokio::test]
async fn the_first_turn_of_a_tree_reserves_in_memory_and_commits_what_it_used() {
    let ground = Ground::new().await;
    let budgets = ground.budgets(Vec::new());
    let id = turn();
    let mut purse = budgets.purse(id, id.conversation(), None, tokens(100));
    let syncs = ground.store.stats().syncs;
    purse.reserve(call(60)).await.expect("there is room");
    assert_eq!(ground.store.stats().syncs, syncs, "there is no tree yet");
    purse.release();
    assert!(purse.charges().is_empty());
    purse.reserve(call(90)).await.expect("there is room");
    purse.settle(30, None);
    ground.store.commit(Commit { charges: purse.charges(), ..commit_of(id) }).await.expect("committed");
    drop(purse);
    let mut next = budgets.purse(turn(), id.conversation(), None, tokens(100));
    assert_eq!(left(next.reserve(call(71)).await.expect_err("a token too many")), "70 tokens");
    ground.store.delete(id.conversation(), true, Time::default()).await.expect("deleted");
    let failure = next.reserve(call(70)).await.expect_err("the tree is gone");
    assert_eq!(failure.reason, Reason::ConversationNotFound);
    assert_eq!(counted(&budgets, &Account::Tree(id.conversation())), 30);
    budgets.forget(id.conversation());
    assert_eq!(counted(&budgets, &Account::Tree(id.conversation())), 0);
}

#[tokio::test]
async fn a_call_counts_in_the_window_in_which_it_was_reserved() {
    let ground = Ground::new().await;
    let day = WindowBudget { provider: Some("mistral".into()), ..window("day", 86_400, 100) };
    let large = WindowBudget { models: Some(vec!["large".into()]), ..window("large", 86_400, 1) };
    let budgets = ground.budgets(vec![day, large]);
    let (yesterday, today) = (Time { unix_us: 86_399_999_999 }, Time { unix_us: 86_400_000_000 });
    let mut purse = budgets.purse(turn(), ground.root, None, None);
    purse.reserve_at(call(80), || yesterday).await.expect("there is room");
    let mut other = budgets.purse(turn(), ground.root, None, None);
    let failure = other.reserve_at(call(80), || yesterday).await.expect_err("it is spent");
    assert_eq!((told(&failure, "budget"), failure.retry_after_ms), (Some("day"), Some(1)));
    other.reserve_at(call(80), || today).await.expect("a new day");
    other.settle(50, None);
    // It ends today, and was reserved yesterday.
    purse.settle(90, None);
    purse.reserve_at(call(50), || today).await.expect("there is room");
    purse.settle(40, None);
    let charges = [other.charges(), purse.charges()].concat();
    ground.store.charge(&charges).await.expect("charged");
    let spent = |start: i64| {
        let account = Account::Window { name: "day".into(), start: Time { unix_us: start } };
        (ground.store.spent(&account).expect("readable").tokens, counted(&budgets, &account))
    };
    assert_eq!((spent(0), spent(86_400_000_000)), ((90, 90), (90, 90)));
    for (provider, name, limited) in [
        ("mistral", "small", true),
        ("openai", "openai/gpt", false),
        ("openai", "openai/large", false),
        ("openai", "large", true),
    ] {
        assert_eq!(purse.is_limited(provider, name), limited, "{provider} {name}");
    }
    assert_eq!(budgets.expire_windows(), Ok(3));
    assert_eq!(ground.store.spent(&Account::Tree(ground.root)), Ok(Spent::default()));
}

#[tokio::test]
async fn a_start_without_a_budget_forgets_nothing_that_was_spent_under_it() {
    let ground = Ground::new().await;
    let year = || vec![window("year", 366 * 86_400, 1000)];
    let budgets = ground.budgets(year());
    let mut purse = budgets.purse(turn(), ground.root, None, None);
    purse.reserve(call(900)).await.expect("there is room");
    purse.settle(900, None);
    // Before any window of now.
    let gone = Account::Window { name: "gone".into(), start: Time { unix_us: ids::now().unix_us - 368 * DAY_US } };
    ground.store.charge(&[purse.charges(), vec![charge(&gone, 5)]].concat()).await.expect("charged");
    drop(purse);

    for windows in [vec![], vec![window("year", 60, 1000)]] {
        assert!(ground.budgets(windows).expire_windows().expect("writable") <= 1, "only what is long gone");
    }
    assert_eq!(ground.store.spent(&gone), Ok(Spent::default()));
    let mut purse = ground.budgets(year()).purse(turn(), ground.root, None, None);
    assert_eq!(left(purse.reserve(call(101)).await.expect_err("it was spent")), "100 tokens");
}

#[tokio::test]
async fn without_a_budget_nothing_is_touched() {
    let ground = Ground::new().await;
    let other = WindowBudget { provider: Some("openai".into()), ..window("other", 60, 1) };
    let none = WindowBudget { ceiling: Budget::default(), ..window("none", 60, 1) };
    let budgets = ground.budgets(vec![other, none]);
    ground.store.close();
    let mut purse = budgets.purse(turn(), ground.root, Some(Budget::default()), Some(Budget::default()));
    assert!(!purse.is_limited("mistral", "small"));
    let locked = (lock(&budgets.inner.accounts), lock(&budgets.inner.checking));
    let asked_for_the_time = || panic!("nothing is limited");
    let reserved = begin(pin!(purse.reserve_at(Call { cost: None, ..call(u64::MAX) }, asked_for_the_time))).await;
    assert!(matches!(reserved, Poll::Ready(Ok(()))));
    drop(locked);
    purse.settle(9, None);
    purse.release();
    assert!(purse.charges().is_empty());
}

#[tokio::test]
async fn an_import_counts_once_whenever_its_tree_is_read() {
    let ground = Ground::new().await;
    let (budgets, account) = (ground.budgets(Vec::new()), ground.account());
    let balance = budgets.inner.balance(&account);
    // Before, meanwhile, and after; and one that is refused.
    for (loaded_before, refused, expected) in [(false, false, 5), (true, false, 10), (true, true, 10)] {
        let charge = charge(&account, 5);
        let store = ground.store.clone();
        let commit = {
            let (charge, balance) = (charge.clone(), balance.clone());
            async move {
                assert!(balance.loading.try_lock().is_err(), "a sum that is read now may have the row or not");
                if refused { Err(store::Error::Exists) } else { store.charge(&[charge]).await }
            }
        };
        assert_eq!(balance.is_loaded(), loaded_before);
        let import = budgets.importing(Some(charge), commit);
        let (import, load) = tokio::join!(import, budgets.inner.load(&balance));
        load.expect("readable");
        assert_eq!(import.is_err(), refused);
        assert_eq!((balance.taken().tokens, ground.spent()), (expected, expected));
    }
}

#[tokio::test]
async fn accounts_that_nobody_uses_are_forgotten() {
    let ground = Ground::new().await;
    let budgets = ground.budgets(vec![window("day", 86_400, 100)]);
    let used = budgets.inner.balance(&ground.account());
    let current = budgets.inner.windows[0].account(ids::now());
    *lock(&budgets.inner.balance(&current).taken) = Some(Spent { tokens: 7, cost: Money::ZERO });
    for _ in 0..3 * ACCOUNTS_KEPT {
        budgets.inner.balance(&Account::Tree(turn().conversation()));
    }
    assert!(lock(&budgets.inner.accounts).known.len() <= ACCOUNTS_KEPT);
    assert!(Arc::ptr_eq(&used, &budgets.inner.balance(&ground.account())), "it is in use");
    assert_eq!(counted(&budgets, &current), 7, "many turns would have to be added up again");
}
