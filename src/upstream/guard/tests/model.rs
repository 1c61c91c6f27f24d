//! Any order of turns, cancellations, settlements, refusals and words of the provider: the limits hold in every minute, nobody
//! is overtaken, nobody is forgotten.

use proptest::{collection::vec, prelude::*};

use super::*;

const REQUESTS: u32 = 5;
const TOKENS: u64 = 1_000;
const SLOTS: usize = 3;

#[derive(Debug, Clone)]
enum Step {
    Ask { prompt: u64, output: u64, patience_ms: u64 },
    Cancel(usize),
    Succeed(usize),
    Settle { which: usize, tokens: u64 },
    Tell { which: usize, limit_tokens: u64 },
    Refuse { which: usize, retry_after_ms: Option<u64> },
    Finish(usize),
    Pass { ms: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let which = || 0usize..8;
    prop_oneof![
        4 => (0u64..900, 0u64..600, 0u64..200_000)
            .prop_map(|(prompt, output, patience_ms)| Step::Ask { prompt, output, patience_ms }),
        1 => which().prop_map(Step::Cancel),
        1 => which().prop_map(Step::Succeed),
        2 => (which(), 0u64..1_500).prop_map(|(which, tokens)| Step::Settle { which, tokens }),
        1 => (which(), 1u64..2_000).prop_map(|(which, limit_tokens)| Step::Tell { which, limit_tokens }),
        1 => (which(), proptest::option::of(0u64..20_000))
            .prop_map(|(which, retry_after_ms)| Step::Refuse { which, retry_after_ms }),
        3 => which().prop_map(Step::Finish),
        3 => (0u64..30_000).prop_map(|ms| Step::Pass { ms }),
    ]
}

/// What went out, as a provider would count it.
#[derive(Default)]
struct Book {
    /// When, and how many tokens; what was made beyond the estimate has an entry of its own.
    tokens: Vec<(Instant, u64)>,
    requests: Vec<Instant>,
    /// In the order in which they came and went.
    last: usize,
    /// The limit that the provider told last, and until when it holds.
    told: Option<(u64, Instant)>,
    /// When the call went out that brought it, in tenths of a second.
    told_by: u128,
}

impl Book {
    /// The tokens of a minute that may go out now.
    fn limit(&self) -> u64 {
        self.told.filter(|(_, until)| Instant::now() < *until).map_or(TOKENS, |(told, _)| told.min(TOKENS))
    }

    /// A turn goes: with it, no minute that ends now holds more than the limits. One that is larger goes alone.
    fn goes(&mut self, number: usize, estimate: u64) -> usize {
        let now = Instant::now();
        let tokens = estimate.min(self.limit());
        let within = |at: Instant| now - at < seconds(60);
        self.requests.push(now);
        self.tokens.push((now, tokens));
        let requests = self.requests.iter().filter(|at| within(**at)).count();
        let sum: u64 = self.tokens.iter().filter(|(at, _)| within(*at)).map(|(_, tokens)| tokens).sum();
        assert!(requests <= REQUESTS as usize, "{requests} requests within a minute");
        assert!(sum <= self.limit(), "{sum} tokens within a minute of {}", self.limit());
        assert!(number >= self.last, "{number} went after {}", self.last);
        self.last = number;
        self.tokens.len() - 1
    }

    /// The answer to a call tells the limit; that to an older call than the newest that told is no news.
    fn is_told(&mut self, entry: usize, began: Instant, limit: u64) {
        let went = (self.tokens[entry].0 - began).as_millis() / 100;
        if went >= self.told_by {
            (self.told_by, self.told) = (went, Some((limit, Instant::now() + seconds(300))));
        }
    }

    fn settles(&mut self, entry: usize, tokens: u64) {
        let taken = self.tokens[entry].1;
        if tokens < taken {
            self.tokens[entry].1 = tokens;
        } else {
            self.tokens.push((Instant::now(), tokens - taken));
        }
    }
}

struct Waiting {
    ask: Ask,
    /// With the book's entry for its tokens.
    task: JoinHandle<Result<(Permit, usize), Refused>>,
}

struct World {
    began: Instant,
    book: Arc<Mutex<Book>>,
    came: usize,
    waiting: Vec<Waiting>,
    running: Vec<(Permit, usize)>,
}

impl World {
    fn new() -> World {
        World { began: Instant::now(), book: Arc::default(), came: 0, waiting: Vec::new(), running: Vec::new() }
    }

    async fn apply(&mut self, guard: &Guard, step: Step) {
        match step {
            Step::Ask { prompt, output, patience_ms } => {
                let deadline = Instant::now() + Duration::from_millis(patience_ms);
                let ask = Ask { prompt_tokens: prompt, output_tokens: output, deadline, metered: true };
                self.came += 1;
                let (guard, book, number) = (guard.clone(), self.book.clone(), self.came);
                let task = tokio::spawn(async move {
                    let permit = guard.admit(ask).await?;
                    let entry = book.lock().expect("no panic").goes(number, prompt + output);
                    Ok((permit, entry))
                });
                self.waiting.push(Waiting { ask, task });
            }
            Step::Cancel(which) => {
                if which < self.waiting.len() {
                    self.waiting.remove(which).task.abort();
                }
            }
            Step::Succeed(which) => {
                if let Some((permit, _)) = self.running.get_mut(which) {
                    permit.succeeded();
                }
            }
            Step::Settle { which, tokens } => {
                if which < self.running.len() {
                    let (mut permit, entry) = self.running.swap_remove(which);
                    self.book.lock().expect("no panic").settles(entry, tokens);
                    permit.settle(tokens);
                }
            }
            Step::Tell { which, limit_tokens } => {
                if let Some((permit, entry)) = self.running.get_mut(which) {
                    self.book.lock().expect("no panic").is_told(*entry, self.began, limit_tokens);
                    permit.quota(&Quota { limit_tokens: Some(limit_tokens), ..Quota::default() });
                }
            }
            Step::Refuse { which, retry_after_ms } => {
                if which < self.running.len() {
                    let (mut permit, entry) = self.running.swap_remove(which);
                    permit.settle(0);
                    self.book.lock().expect("no panic").settles(entry, 0);
                    permit.rate_limited(retry_after_ms.map(Duration::from_millis));
                }
            }
            Step::Finish(which) => {
                if which < self.running.len() {
                    drop(self.running.swap_remove(which));
                }
            }
            Step::Pass { ms } => pass_ms(ms).await,
        }
        settled().await;
        self.collect().await;
    }

    /// Takes in who went, and makes sure that nobody waits beyond the deadline.
    async fn collect(&mut self) {
        let mut still = Vec::new();
        for waiting in self.waiting.drain(..) {
            if !waiting.task.is_finished() {
                assert!(Instant::now() <= waiting.ask.deadline + Duration::from_millis(2), "forgotten in the queue");
                still.push(waiting);
            } else if let Ok(went) = waiting.task.await.expect("no panic") {
                self.running.push(went);
            }
        }
        self.waiting = still;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn limits_hold_and_nobody_is_lost(steps in vec(step(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            let guard = Guard::new(options(REQUESTS, TOKENS), slots(SLOTS));
            let mut world = World::new();
            for step in steps {
                world.apply(&guard, step).await;
                assert!(guard.state().in_use <= SLOTS);
                assert_eq!(guard.state().waiting, world.waiting.len());
                let first = world.waiting.first().filter(|_| guard.state().in_use < SLOTS);
                if let Some(Waiting { ask, task: _ }) = first {
                    let look = guard.shared.lock().look(ask, queue::Ahead { turns: 0, tokens: 0 }, Instant::now());
                    assert!(!matches!(look, Look::Fits), "the first may go, and was not woken");
                }
            }
            // Nothing ends any more, yet everyone who waits gets an answer.
            pass_ms(200_001).await;
            world.collect().await;
            assert_eq!((world.waiting.len(), guard.state().waiting), (0, 0));
            // And whatever happened, the guard goes on when its calls are gone.
            world.running.clear();
            pass_ms(130_000).await;
            guard.admit(ask(TOKENS, 0)).await.expect("idle for two minutes, whatever was told");
        });
    }
}
