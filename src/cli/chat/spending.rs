//! What turns used, what they cost, and what the model was not told, as a person reads it.

use crate::{
    cli::money,
    proto::{Conversation, Model, Money, Omission, Turn, Usage, omission::Kind},
};

/// What a turn used.
pub(super) fn turn(turn: &Turn) -> String {
    let usage = turn.usage.clone().unwrap_or_default();
    format!("{}, {}", tokens(&usage), turn.cost.as_ref().map_or_else(|| "no price known".into(), money::shown))
}

/// What the turns of a version's history used together.
pub(super) fn conversation(version: &Conversation) -> String {
    let usage = version.usage.clone().unwrap_or_default();
    let cost = money::shown(version.cost.as_ref().unwrap_or(&Money::default()));
    match version.unpriced_turn_count {
        0 => format!("{}, {cost}", tokens(&usage)),
        1 => format!("{}, {cost} and 1 turn without a known price", tokens(&usage)),
        count => format!("{}, {cost} and {count} turns without a known price", tokens(&usage)),
    }
}

fn tokens(usage: &Usage) -> String {
    let about = if usage.estimated { "about " } else { "" };
    let cached = match usage.cached_tokens {
        0 => String::new(),
        count => format!(" ({count} cached)"),
    };
    format!("{about}{} tokens read{cached}, {} written", usage.prompt_tokens, usage.completion_tokens)
}

/// What the model was not told.
pub(super) fn omission(omission: &Omission) -> String {
    let entries = match omission.entry_count {
        1 => "1 entry".to_owned(),
        count => format!("{count} entries"),
    };
    match omission.kind() {
        Kind::OldEntries => format!("too long for the model: it was not told the oldest part, {entries}"),
        Kind::Thinking => format!("the model was not told another provider's thinking, in {entries}"),
        Kind::References => format!("the model was not told references, in {entries}"),
        Kind::Unspecified => format!("the model was not told some of the history, in {entries}"),
    }
}

/// A line for each model.
pub(super) fn models(models: &[Model]) -> String {
    let width = models.iter().map(|model| model.name.chars().count()).max().unwrap_or_default();
    let line = |model: &Model| {
        let window = match model.context_tokens {
            0 => String::new(),
            tokens => format!("{tokens} tokens"),
        };
        let price = model.price.as_ref().map_or_else(String::new, |price| {
            let of = |money: &Option<Money>| money.as_ref().map_or_else(|| "?".into(), money::shown);
            format!("{} in, {} out per million", of(&price.input_per_million), of(&price.output_per_million))
        });
        format!("{:<width$}  {window:<14}  {price}", model.name).trim_end().to_owned()
    };
    models.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::ModelPrice;

    fn dollars(nanos: i32) -> Option<Money> {
        Some(Money { nanos, ..Money::default() })
    }

    fn usage(prompt_tokens: i64, completion_tokens: i64) -> Usage {
        Usage { prompt_tokens, completion_tokens, ..Usage::default() }
    }

    #[test]
    fn a_cost_is_never_guessed() {
        let priced = Turn { usage: Some(usage(20, 9)), cost: dollars(47_000), ..Turn::default() };
        assert_eq!(turn(&priced), "20 tokens read, 9 written, $0.000047");
        let unpriced = Usage { estimated: true, cached_tokens: 5, ..usage(20, 9) };
        let unpriced = Turn { usage: Some(unpriced), cost: None, ..Turn::default() };
        assert_eq!(turn(&unpriced), "about 20 tokens read (5 cached), 9 written, no price known");

        let mut version = Conversation { usage: Some(usage(40, 18)), cost: dollars(94_000), ..Conversation::default() };
        assert_eq!(conversation(&version), "40 tokens read, 18 written, $0.000094");
        version.unpriced_turn_count = 2;
        assert_eq!(conversation(&version), "40 tokens read, 18 written, $0.000094 and 2 turns without a known price");
    }

    #[test]
    fn what_was_left_out_is_said() {
        let said = |kind: Kind| omission(&Omission { kind: kind.into(), entry_count: 4, ..Omission::default() });
        assert!(said(Kind::OldEntries).contains("the oldest part, 4 entries"));
        assert!(said(Kind::Thinking).contains("another provider's thinking, in 4 entries"));
    }

    #[test]
    fn models_are_aligned() {
        let price = ModelPrice {
            input_per_million: dollars(150_000_000),
            output_per_million: dollars(600_000_000),
            ..ModelPrice::default()
        };
        let list = [
            Model { name: "small".into(), context_tokens: 262_144, price: Some(price), ..Model::default() },
            Model { name: "ollama/llama".into(), ..Model::default() },
        ];
        let expected = "small         262144 tokens   $0.15 in, $0.60 out per million\nollama/llama";
        assert_eq!(models(&list), expected);
    }
}
