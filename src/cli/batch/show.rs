//! Batches as a person reads them.

use std::time::Duration;

use jiff::Timestamp;

use super::super::{
    connect::{Batches, quick},
    failure::Failure,
    money,
    table::table,
};
use crate::proto::{Batch, BatchOptions, ListBatchesRequest};

/// The batches that fit on a page of the terminal's history.
const LISTED: i32 = 100;

/// The newest batches, one a line.
pub(super) async fn list(client: &mut Batches) -> Result<String, Failure> {
    let request = ListBatchesRequest { page_size: LISTED, page_token: String::new() };
    let page = client.list_batches(quick(request)).await?.into_inner();
    let title = ["BATCH", "STATE", "ITEMS", "ENDED", "FAILED", "COST", "CREATED", "DESCRIPTION"].map(str::to_owned);
    let rows = page.batches.iter().map(|batch| {
        let options = batch.options.clone().unwrap_or_default();
        [
            batch.id.clone(),
            state(batch),
            batch.item_count.to_string(),
            batch.ended_count.to_string(),
            (batch.failed_count + batch.cancelled_count).to_string(),
            cost(batch),
            moment(batch.created_at),
            options.description,
        ]
    });
    let mut text = table([title].into_iter().chain(rows));
    if !page.next_page_token.is_empty() {
        text.push_str("and older ones\n");
    }
    Ok(text)
}

/// A batch in full.
pub(super) fn batch(batch: &Batch) -> String {
    let BatchOptions { request_id: _, max_concurrency, priority, description } =
        batch.options.clone().unwrap_or_default();
    let mut rows = vec![
        ["batch", &batch.id].map(str::to_owned),
        ["state".to_owned(), state(batch)],
        ["description".to_owned(), description],
        ["concurrency".to_owned(), max_concurrency.to_string()],
        ["priority".to_owned(), priority.to_string()],
        ["created".to_owned(), moment(batch.created_at)],
    ];
    if batch.ended_at.is_some() {
        rows.push(["ended".to_owned(), moment(batch.ended_at)]);
    }
    rows.extend(counts(batch));
    table(rows)
}

/// What came of a batch that has ended.
pub(super) fn summary(batch: &Batch, took: Duration) -> String {
    let took = ["time".to_owned(), format!("{:.1} s", took.as_secs_f64())];
    table(counts(batch).into_iter().chain([took]))
}

fn counts(batch: &Batch) -> Vec<[String; 2]> {
    let usage = batch.usage.clone().unwrap_or_default();
    let mut rows = vec![["items".to_owned(), format!("{}, {} ended", batch.item_count, batch.ended_count)]];
    for (name, count) in [
        ("completed", batch.completed_count),
        ("incomplete", batch.incomplete_count),
        ("failed", batch.failed_count),
        ("cancelled", batch.cancelled_count),
    ] {
        if count > 0 || name == "completed" {
            rows.push([name.to_owned(), count.to_string()]);
        }
    }
    rows.push(["tokens".to_owned(), format!("{} read, {} written", usage.prompt_tokens, usage.completion_tokens)]);
    rows.push(["cost".to_owned(), cost(batch)]);
    rows
}

/// What is known to have been paid.
fn cost(batch: &Batch) -> String {
    let known = batch.cost.as_ref().map(money::shown).unwrap_or_default();
    match batch.unpriced_count {
        0 => known,
        count if count == batch.ended_count => "not known".to_owned(),
        count => format!("{known}, and {count} items whose price is not known"),
    }
}

fn state(batch: &Batch) -> String {
    batch.state().as_str_name().trim_start_matches("STATE_").to_lowercase()
}

fn moment(time: Option<prost_types::Timestamp>) -> String {
    let time = time.and_then(|time| Timestamp::new(time.seconds, 0).ok());
    time.map(|time| time.to_string()).unwrap_or_default()
}
