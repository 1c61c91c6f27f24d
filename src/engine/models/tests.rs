//! On a clock that the tests move.

use std::time::Duration;

use tokio::time::Instant;

use super::*;
use crate::upstream::guard::{Ask, Limit, Permit, Refused};

fn per_minute(requests: u32) -> RateLimits {
    RateLimits { requests_per_minute: std::num::NonZeroU32::new(requests), tokens_per_minute: None }
}

/// One request a minute for each model, but for those that have limits of their own.
fn models(own: &[(&str, RateLimits)]) -> Models {
    let own = own.iter().map(|(name, limits)| {
        let policy = ModelPolicy { limits: *limits, fallback_models: None };
        ((*name).to_owned(), policy)
    });
    let policy = ProviderPolicy {
        max_concurrent: NonZeroUsize::new(1000).expect("some"),
        max_waiting: 0,
        limits: per_minute(1),
        caller_keys: false,
        models: own.collect(),
    };
    Models::new(ModelOptions {
        providers: Providers::new("mistral", vec![Provider::never_asked("mistral")]).expect("right"),
        catalogue: Catalogue::default(),
        policies: BTreeMap::from([("mistral".to_owned(), policy)]),
        breaker: BreakerOptions::default(),
        retry: RetryOptions {
            max_attempts: 1,
            base_delay: Duration::ZERO,
            max_delay: Duration::ZERO,
            max_elapsed: Duration::ZERO,
        },
        fallback_models: Vec::new(),
    })
}

async fn admit(models: &Models, name: &str) -> Result<Permit, Refused> {
    let ask = Ask { prompt_tokens: 1, output_tokens: 1, deadline: Instant::now(), metered: true };
    models.target(name).guard.admit(ask).await
}

/// Calls of more models that there are not than are kept, each of which the provider refuses.
async fn made_up(models: &Models, round: usize) {
    for at in 0..4200 {
        admit(models, &format!("made-up-{round}-{at}")).await.expect("it was not asked yet").settle(0);
    }
}

fn limit(refused: Result<Permit, Refused>) -> Limit {
    match refused.expect_err("limited") {
        Refused::QueueFull { limit, .. } | Refused::TooLate { limit, .. } | Refused::TooLarge { limit, .. } => limit,
        Refused::BreakerOpen { .. } => panic!("the breaker is open"),
    }
}

#[tokio::test(start_paused = true)]
async fn names_that_callers_make_up_wipe_no_limit_no_gate_and_no_breaker() {
    let models = models(&[]);
    admit(&models, "limited").await.expect("the first").succeeded();
    admit(&models, "closed").await.expect("the first").rate_limited(Some(Duration::from_secs(3600)));
    admit(&models, "failing").await.expect("the first").failed();
    for _ in 0..9 {
        tokio::time::advance(Duration::from_millis(1)).await;
        let own_key = Ask { prompt_tokens: 1, output_tokens: 1, deadline: Instant::now(), metered: false };
        models.target("failing").guard.admit(own_key).await.expect("closed").failed();
    }
    for round in 0..3 {
        made_up(&models, round).await;
        assert!(models.others.len() <= 4096);
        assert_eq!(limit(admit(&models, "limited").await), Limit::Requests);
        assert_eq!(limit(admit(&models, "closed").await), Limit::RetryAfter);
        assert!(matches!(admit(&models, "failing").await, Err(Refused::BreakerOpen { .. })));
        tokio::time::advance(Duration::from_secs(4)).await;
    }
    // As long as the gate is closed, also where nobody asks; what is at rest goes.
    tokio::time::advance(Duration::from_secs(3000)).await;
    made_up(&models, 3).await;
    assert_eq!(limit(admit(&models, "closed").await), Limit::RetryAfter);
    assert!(models.others.len() <= 4096);
}

#[tokio::test(start_paused = true)]
async fn a_model_in_use_stays_and_one_at_rest_may_go() {
    let models = models(&[]);
    let used = models.target("used");
    let at_rest = Arc::downgrade(&models.target("at-rest"));
    made_up(&models, 0).await;
    assert!(Arc::ptr_eq(&used, &models.target("used")));
    assert!(at_rest.upgrade().is_none());
}

#[tokio::test(start_paused = true)]
async fn the_names_of_a_model_share_its_limits() {
    let small = ("mistral-small-2603", per_minute(2));
    let models = models(&[small, ("mistral-large-latest", per_minute(3)), ("mistral-large-2512", per_minute(2))]);
    for (round, (names, calls)) in [
        // As for all; by the section of one name; the lower of two.
        (["mistral-medium-latest", "mistral-medium-3", "mistral/mistral-medium-3-5"], 1),
        (["mistral-small-latest", "mistral-small-2603", "mistral/mistral-small-latest"], 2),
        (["mistral-large-latest", "mistral-large-2512", "mistral-large-latest"], 2),
    ]
    .into_iter()
    .enumerate()
    {
        for name in &names[..calls] {
            admit(&models, name).await.expect("within the limit").succeeded();
        }
        for name in names {
            assert_eq!(limit(admit(&models, name).await), Limit::Requests, "{name}");
            assert_eq!(models.target(name).name, models.canonical(name), "a turn keeps the name");
        }
        made_up(&models, round).await;
        assert_eq!(limit(admit(&models, names[0]).await), Limit::Requests);
    }
    admit(&models, "mistral-large-2407").await.expect("another model");
}
