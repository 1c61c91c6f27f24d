//! The built-in table: Mistral's models, and the stand-in's.
//!
//! Each row is dated by when it was read. Several rows may name one id (`mistral-large-latest` moves from model to model): the
//! newest applies, the others are its history. Only models that hold conversations are here; embeddings and moderation are not.
//!
//! Sources: the models' cards and the list of deprecations in `mistralai/platform-docs-public` as of 2026-08-13; Mistral's price
//! list of November 2024 for what that no longer names; for prices after August 2026 the announcements, as resellers repeat
//! them, which makes them provisional. A window of "256k" is 262,144 tokens, as Mistral's own error says; "1M" is told by nobody
//! to the token, and taken as 1,000,000.

use std::borrow::Cow;

use rust_decimal::Decimal;

use super::{Card, Price};

const MISTRAL: &str = "mistral";
/// The stand-in that runs without a key.
const OFFLINE: &str = "offline";

const K32: Option<u64> = Some(32_768);
const K64: Option<u64> = Some(65_536);
const K128: Option<u64> = Some(131_072);
const K256: Option<u64> = Some(262_144);
const M1: Option<u64> = Some(1_000_000);

/// The dates on which rows were read.
const NOVEMBER_2024: &str = "2024-11";
const DOCS: &str = "2026-08-13";
const AUTUMN_2026: &str = "2026-10";

/// What Mistral charges for a call of its own tools, in thousandths of a dollar; the same on all models
/// (https://github.com/BerriAI/litellm/pull/32059). Of its other tools no price is published.
const MISTRAL_CONNECTORS: [(&str, u32); 2] = [("web_search", 30), ("web_search_premium", 50)];

struct Row {
    provider: &'static str,
    /// The model's own name first, then its aliases: other names of the same model, not models of the same price. Limits and
    /// budgets hold for all of them together.
    ids: &'static [&'static str],
    context_tokens: Option<u64>,
    rate: Option<Rate>,
    retires_on: Option<&'static str>,
    read_on: &'static str,
    provisional: bool,
}

/// Thousandths of a dollar for a million tokens.
struct Rate {
    input: u32,
    cached_input: u32,
    output: u32,
}

impl Row {
    const fn new(
        provider: &'static str,
        ids: &'static [&'static str],
        context_tokens: Option<u64>,
        rate: Rate,
        read_on: &'static str,
    ) -> Row {
        Row { provider, ids, context_tokens, rate: Some(rate), retires_on: None, read_on, provisional: false }
    }

    const fn provisional(self) -> Row {
        Row { provisional: true, ..self }
    }

    const fn retires_on(self, day: &'static str) -> Row {
        Row { retires_on: Some(day), ..self }
    }

    /// A model of which only its end is known.
    const fn retired(day: &'static str, ids: &'static [&'static str]) -> Row {
        Row {
            provider: MISTRAL,
            ids,
            context_tokens: None,
            rate: None,
            retires_on: Some(day),
            read_on: DOCS,
            provisional: false,
        }
    }

    fn price(&self) -> Option<Price> {
        let Rate { input, cached_input, output } = self.rate.as_ref()?;
        let connectors: &[(&str, u32)] = if self.provider == MISTRAL { &MISTRAL_CONNECTORS } else { &[] };
        Some(Price {
            input: dollars(*input),
            cached_input: dollars(*cached_input),
            output: dollars(*output),
            connectors: connectors.iter().map(|(name, price)| ((*name).to_owned(), dollars(*price))).collect(),
            read_on: Cow::Borrowed(self.read_on),
            provisional: self.provisional,
        })
    }
}

/// Cached input costs what other input does: nobody gave a discount then, or says so.
const fn flat(input: u32, output: u32) -> Rate {
    Rate { input, cached_input: input, output }
}

/// Cached input costs a tenth.
const fn tenth(input: u32, output: u32) -> Rate {
    Rate { input, cached_input: input / 10, output }
}

const fn cached(input: u32, cached_input: u32, output: u32) -> Rate {
    Rate { input, cached_input, output }
}

/// What the built-in table knows of a model.
pub(super) fn card(provider: &str, model: &str) -> Card {
    let Some(row) = newest(provider, model) else { return Card::default() };
    Card {
        context_tokens: row.context_tokens,
        context_is_configured: false,
        price: row.price(),
        retires_on: row.retires_on,
    }
}

/// The names of the model that a name means now, its own first; none if it is not in the table.
pub(super) fn names(provider: &str, model: &str) -> Vec<&'static str> {
    let Some(row) = newest(provider, model) else { return Vec::new() };
    let means_it = |id: &&'static str| newest(provider, id).is_some_and(|other| std::ptr::eq(other, row));
    row.ids.iter().copied().filter(means_it).collect()
}

/// The prices that a model had, the newest last.
#[cfg(test)]
pub(super) fn prices(provider: &str, model: &str) -> Vec<Price> {
    let mut prices: Vec<Price> = rows(provider, model).filter_map(Row::price).collect();
    prices.sort_by(|one, other| one.read_on.cmp(&other.read_on));
    prices
}

/// Each name of each row, with the row's provider and date.
#[cfg(test)]
pub(super) fn every_name() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    ROWS.iter().flat_map(|row| row.ids.iter().map(move |id| (row.provider, *id, row.read_on)))
}

fn rows(provider: &str, model: &str) -> impl Iterator<Item = &'static Row> {
    ROWS.iter().filter(move |row| row.provider == provider && row.ids.contains(&model))
}

fn newest(provider: &str, model: &str) -> Option<&'static Row> {
    rows(provider, model).max_by_key(|row| row.read_on)
}

fn dollars(thousandths: u32) -> Decimal {
    Decimal::new(i64::from(thousandths), 3)
}

static ROWS: [Row; 38] = [
    // Mistral's price list of November 2024. The dated ids were aliases then, each of what its row names.
    Row::new(MISTRAL, &["open-mistral-7b", "mistral-tiny-2312"], K32, flat(250, 250), NOVEMBER_2024),
    Row::new(MISTRAL, &["open-mixtral-8x7b", "mistral-small-2312"], K32, flat(700, 700), NOVEMBER_2024),
    Row::new(MISTRAL, &["open-mixtral-8x22b"], K64, flat(2000, 6000), NOVEMBER_2024),
    Row::new(MISTRAL, &["mistral-small-2402", "mistral-small-latest"], K32, flat(1000, 3000), NOVEMBER_2024),
    Row::new(MISTRAL, &["mistral-medium-latest"], K32, flat(2700, 8100), NOVEMBER_2024),
    Row::new(MISTRAL, &["mistral-large-2402"], K32, flat(4000, 12_000), NOVEMBER_2024),
    Row::new(MISTRAL, &["mistral-large-2407", "mistral-large-latest"], K32, flat(4000, 12_000), NOVEMBER_2024),
    // The models' cards.
    Row::new(
        MISTRAL,
        &["mistral-medium-3-5", "mistral-medium-3", "mistral-medium-latest"],
        K256,
        tenth(1500, 7500),
        DOCS,
    ),
    Row::new(MISTRAL, &["mistral-large-2512", "mistral-large-latest"], K256, tenth(500, 1500), DOCS),
    Row::new(MISTRAL, &["mistral-small-2603", "mistral-small-latest"], K256, tenth(150, 600), DOCS),
    Row::new(MISTRAL, &["ministral-14b-2512", "ministral-14b-latest"], K256, tenth(200, 200), DOCS),
    Row::new(MISTRAL, &["ministral-8b-2512", "ministral-8b-latest"], K256, tenth(150, 150), DOCS),
    Row::new(MISTRAL, &["ministral-3b-2512", "ministral-3b-latest"], K256, tenth(100, 100), DOCS),
    Row::new(MISTRAL, &["codestral-2508", "codestral-latest"], K128, tenth(300, 900), DOCS),
    // Tokens only: the 0.004 dollars for a minute of audio come on top.
    Row::new(MISTRAL, &["voxtral-small-2507"], K32, tenth(100, 400), DOCS),
    Row::new(MISTRAL, &["zai-glm-5-2"], M1, cached(1400, 140, 4400), "2026-08-06"),
    Row::new(MISTRAL, &["labs-leanstral-1-5"], K256, flat(0, 0), DOCS).retires_on("2026-09-30"),
    // What came after. mistral-large-4-0 is a preview and charged at half of its list price, 1.36 and 4.18: this is what is
    // charged.
    Row::new(MISTRAL, &["mistral-large-4-0", "mistral-large-4"], M1, tenth(680, 2090), "2026-10-06").provisional(),
    Row::new(MISTRAL, &["zai-glm-5-3"], None, cached(1400, 140, 4400), AUTUMN_2026).provisional(),
    Row::new(MISTRAL, &["zai-glm-5-3-flash"], None, cached(150, 30, 500), AUTUMN_2026).provisional(),
    Row::new(MISTRAL, &["deepseek-v4-1-flash-1017"], None, cached(300, 7, 1200), AUTUMN_2026).provisional(),
    // Deprecated or gone. What they cost at the end was not read.
    Row::retired("2026-08-31", &["mistral-medium-2505"]),
    Row::retired("2026-08-31", &["mistral-medium-2508"]),
    Row::retired("2026-07-31", &["magistral-medium-2509"]),
    Row::retired("2026-07-31", &["magistral-small-2509"]),
    Row::retired("2026-07-31", &["devstral-2512"]),
    Row::retired("2026-07-31", &["mistral-small-2506"]),
    Row::retired("2026-07-31", &["open-mistral-nemo"]),
    Row::retired("2026-05-31", &["mistral-large-2411"]),
    Row::retired("2026-05-31", &["pixtral-large-2411", "pixtral-large-latest", "pixtral-large"]),
    Row::retired("2026-05-31", &["devstral-small-2507"]),
    Row::retired("2026-05-31", &["devstral-medium-2507"]),
    Row::retired("2026-05-31", &["voxtral-mini-2507"]),
    Row::retired("2026-04-30", &["labs-mistral-small-creative"]),
    Row::retired("2026-03-31", &["labs-devstral-small-2512"]),
    // Made up, so that costs, budgets and a full window can be tried without a key.
    Row::new(OFFLINE, &["offline-small"], K32, tenth(1000, 3000), "2026-01-01"),
    Row::new(OFFLINE, &["offline-large"], K256, tenth(4000, 12_000), "2026-01-01"),
    Row::new(OFFLINE, &["offline-reasoning"], K256, tenth(2000, 6000), "2026-01-01"),
];
