//! Batches: their options, their items, their results.

use prost::Message;

use super::{
    background, failure,
    fingerprint::{self, Method},
    number,
    path::Path,
    request, rules, spend, time, turn,
    violations::{self, Rules, Violations},
};
use crate::{
    domain::{
        Batch, BatchId, BatchOptions, BatchState, BatchTally, Failure, ItemResult, Spend, Turn, TurnState,
        batch::MAX_ITEMS, request::TurnRequest,
    },
    grpc::page_token::Page,
    proto::{self, batch_item::Request, batch_result::Kind, run_batch_request},
};

const DEFAULT_CONCURRENCY: i32 = 8;
const CONCURRENCIES: std::ops::RangeInclusive<i32> = 1..=1000;
const MAX_DESCRIPTION: usize = 512;

/// The first message of RunBatch.
#[derive(Debug)]
pub struct First {
    /// What is asked.
    pub options: BatchOptions,
    /// A hash of that.
    pub fingerprint: [u8; 16],
    /// Results up to this one are not wanted.
    pub after_sequence: u32,
}

/// Reads the first message of RunBatch.
pub fn first(message: proto::RunBatchRequest) -> Result<First, Failure> {
    let proto::RunBatchRequest { kind, after_sequence } = message;
    let Some(run_batch_request::Kind::Options(mut options)) = kind else {
        return Err(Failure::invalid_field("options", "must be the first message, before any item"));
    };
    let request_id = std::mem::take(&mut options.request_id);
    let fingerprint = fingerprint::of(Method::RunBatch, &options);
    let proto::BatchOptions { request_id: _, max_concurrency, priority, description } = options;
    violations::read(Rules::All, |violations| {
        let at = Path::root("options");
        if !request_id.is_empty() {
            rules::request_id(&at.field("request_id"), &request_id, violations);
        }
        let most = if max_concurrency == 0 { DEFAULT_CONCURRENCY } else { max_concurrency };
        if !CONCURRENCIES.contains(&most) {
            violations.add(&at.field("max_concurrency"), format_args!("must be 1 to 1000, is {most}"));
        }
        background::check_priority(&at.field("priority"), priority, violations);
        rules::at_most(&at.field("description"), &description, MAX_DESCRIPTION, violations);
        let after_sequence = read_sequence(after_sequence, violations);
        let max_concurrency = number::read_small(&at.field("max_concurrency"), most, 1, violations)?;
        let options = BatchOptions { request_id: rules::given(request_id), max_concurrency, priority, description };
        Some(First { options, fingerprint, after_sequence: after_sequence? })
    })
}

/// An item as it came.
#[derive(Debug)]
pub struct Item {
    /// Its place.
    pub index: u32,
    /// What is asked, or why it is refused.
    pub request: Result<Box<TurnRequest>, Failure>,
    /// Of the message.
    pub size_bytes: usize,
}

/// Any other message of RunBatch. An item without a place ends the call; one that is wrong otherwise is refused.
pub fn item(message: proto::RunBatchRequest) -> Result<Item, Failure> {
    let size_bytes = message.encoded_len();
    let item = match message.kind {
        Some(run_batch_request::Kind::Item(item)) => item,
        Some(run_batch_request::Kind::Options(_)) => {
            return Err(Failure::invalid_field("options", "must be given once, in the first message"));
        }
        None => return Err(Failure::invalid_field("item", "is required")),
    };
    let proto::BatchItem { index, request } = item;
    let place = u32::try_from(index).ok().filter(|index| *index < MAX_ITEMS);
    let out_of_range = || Failure::invalid_field("item.index", format!("must be 0 to {}, is {index}", MAX_ITEMS - 1));
    let index = place.ok_or_else(out_of_range)?;
    Ok(Item { index, request: read_request(request).map(Box::new), size_bytes })
}

fn read_request(request: Option<Request>) -> Result<TurnRequest, Failure> {
    match request {
        Some(Request::Start(mut asked)) => {
            let rules = check("item.start", &mut asked.store, &mut asked.request_id, &mut 0);
            asked.background = true;
            both(rules, request::start("item.start", asked))
        }
        Some(Request::Append(mut asked)) => {
            let policy = &mut asked.concurrency_policy;
            let rules = check("item.append", &mut asked.store, &mut asked.request_id, policy);
            asked.background = true;
            both(rules, request::append("item.append", asked))
        }
        Some(Request::Restart(mut asked)) => {
            let policy = &mut asked.concurrency_policy;
            let rules = check("item.restart", &mut asked.store, &mut asked.request_id, policy);
            asked.background = true;
            both(rules, request::restart("item.restart", asked))
        }
        None => Err(Failure::invalid_field("item", "must have exactly one of start, append and restart")),
    }
}

/// What an item leaves out. It is taken out, so that the rest can be read.
fn check(at: &str, store: &mut Option<bool>, request_id: &mut String, policy: &mut i32) -> Result<(), Failure> {
    violations::read(Rules::All, |violations: &mut Violations| {
        let at = Path::root(at);
        if store.take() == Some(false) {
            violations.add(&at.field("store"), format_args!("must be true or left out: a batch keeps its turns"));
        }
        if !std::mem::take(request_id).is_empty() {
            let text = "must be left out: the item's index makes it repeatable";
            violations.add(&at.field("request_id"), format_args!("{text}"));
        }
        let fork = [proto::ConcurrencyPolicy::Unspecified, proto::ConcurrencyPolicy::Fork].map(i32::from);
        if !fork.contains(&std::mem::take(policy)) {
            let text = "must be left out: the items of a batch wait for no other turn, and stop none";
            violations.add(&at.field("concurrency_policy"), format_args!("{text}"));
        }
        Some(())
    })
}

fn both(rules: Result<(), Failure>, read: Result<TurnRequest, Failure>) -> Result<TurnRequest, Failure> {
    match (rules, read) {
        (Ok(()), read) => read,
        (Err(failure), Ok(_)) => Err(failure),
        (Err(mut failure), Err(other)) => {
            failure.violations.extend(other.violations);
            Err(Failure { metadata: other.metadata, ..Failure::invalid(failure.violations) })
        }
    }
}

/// The id of a batch, in the field `batch_id`.
pub fn batch_id(text: &str) -> Result<BatchId, Failure> {
    violations::read(Rules::All, |violations| rules::batch_id(&Path::root("batch_id"), text, violations))
}

/// Which batch WatchBatch reads, and after which result.
pub fn watch(request: &proto::WatchBatchRequest) -> Result<(BatchId, u32), Failure> {
    let proto::WatchBatchRequest { batch_id, after_sequence } = request;
    violations::read(Rules::All, |violations| {
        let id = rules::batch_id(&Path::root("batch_id"), batch_id, violations);
        let after = read_sequence(*after_sequence, violations);
        Some((id?, after?))
    })
}

fn read_sequence(after: i64, violations: &mut Violations) -> Option<u32> {
    let after = number::read(&Path::root("after_sequence"), after, violations)?;
    Some(u32::try_from(after).unwrap_or(u32::MAX))
}

/// Which page of the batches is asked for.
pub fn list(mut request: proto::ListBatchesRequest) -> Result<Page, Failure> {
    let page = (std::mem::take(&mut request.page_size), std::mem::take(&mut request.page_token));
    violations::read(Rules::All, |violations| {
        Page::read(&Path::root(""), "ListBatches", &request, (page.0, &page.1), violations)
    })
}

/// A batch as the wire has it.
pub fn write(batch: &Batch) -> proto::Batch {
    let Batch { id, state, options, created_at, ended_at, items, tally } = batch;
    let BatchTally { completed, incomplete, failed, cancelled, spend } = tally;
    let Spend { usage, cost, unpriced_turns } = spend;
    proto::Batch {
        id: id.to_string(),
        state: write_state(*state).into(),
        options: Some(write_options(options)),
        created_at: Some(time::write(*created_at)),
        ended_at: ended_at.map(time::write),
        item_count: (*items).into(),
        ended_count: tally.ended().into(),
        completed_count: (*completed).into(),
        incomplete_count: (*incomplete).into(),
        failed_count: (*failed).into(),
        cancelled_count: (*cancelled).into(),
        usage: Some(spend::write_usage(usage)),
        cost: Some(spend::write_money(*cost)),
        unpriced_count: number::write(*unpriced_turns),
    }
}

fn write_state(state: BatchState) -> proto::batch::State {
    match state {
        BatchState::Open => proto::batch::State::Open,
        BatchState::Running => proto::batch::State::Running,
        BatchState::Ended => proto::batch::State::Ended,
        BatchState::Cancelled => proto::batch::State::Cancelled,
    }
}

fn write_options(options: &BatchOptions) -> proto::BatchOptions {
    let BatchOptions { request_id, max_concurrency, priority, description } = options;
    proto::BatchOptions {
        request_id: request_id.clone().unwrap_or_default(),
        max_concurrency: number::write_small(*max_concurrency),
        priority: *priority,
        description: description.clone(),
    }
}

/// How a batch stands, as a message among its results.
pub fn write_standing(batch: &Batch) -> proto::BatchResult {
    proto::BatchResult { sequence: 0, kind: Some(Kind::Batch(write(batch))) }
}

/// A result as the wire has it. `turn`: as it is kept.
pub fn write_result(result: &ItemResult, turn: Option<&Turn>) -> proto::BatchResult {
    let ItemResult { sequence, index, turn: became, state, at, tally: _ } = result;
    let (turn_id, turn) = match became {
        Ok(id) => (id.to_string(), turn.map(turn::write)),
        Err(failure) => (String::new(), Some(refused(failure, *at))),
    };
    let item = proto::BatchItemResult {
        index: number::write_small(*index),
        turn,
        turn_id,
        state: turn::write_state(*state).into(),
        ended_at: Some(time::write(*at)),
    };
    proto::BatchResult { sequence: (*sequence).into(), kind: Some(Kind::Item(item)) }
}

/// The turn of an item that became none.
fn refused(failure: &Failure, at: crate::domain::Time) -> proto::Turn {
    proto::Turn {
        state: turn::write_state(TurnState::Failed).into(),
        error: Some(failure::write(failure)),
        created_at: Some(time::write(at)),
        completed_at: Some(time::write(at)),
        ..proto::Turn::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(request: Request) -> Vec<String> {
        let item = proto::BatchItem { index: 3, request: Some(request) };
        let kind = Some(run_batch_request::Kind::Item(item));
        let item = super::item(proto::RunBatchRequest { kind, after_sequence: 0 }).expect("it has a place");
        let failure = item.request.expect_err("it is refused");
        failure.violations.into_iter().map(|violation| violation.field).collect()
    }

    #[test]
    fn an_item_is_refused_with_all_that_is_wrong_with_it() {
        let start = proto::StartRequest { store: Some(false), request_id: "a".into(), ..Default::default() };
        let found = fields(Request::Start(start));
        assert_eq!(found, ["item.start.store", "item.start.request_id", "item.start.model", "item.start.input"]);
        let append = proto::AppendRequest { concurrency_policy: 2, ..Default::default() };
        assert_eq!(fields(Request::Append(append)), ["item.append.concurrency_policy", "item.append.conversation_id"]);
    }

    #[test]
    fn an_item_without_a_place_ends_the_call() {
        for index in [-1, 100_000] {
            let kind = Some(run_batch_request::Kind::Item(proto::BatchItem { index, request: None }));
            let failure = item(proto::RunBatchRequest { kind, after_sequence: 0 }).expect_err("there is no such place");
            assert_eq!(failure.violations[0].field, "item.index");
        }
    }
}
