//! Requests made up from the descriptors: every field of every message, with values that are likely to mean something.

use bytes::Bytes;
use causerie::proto::{self, FILE_DESCRIPTOR_SET};
use prost::Message;
use prost_reflect::{
    Cardinality, DescriptorPool, DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MapKey, MessageDescriptor,
    Value,
};

use crate::support::random::Dice;

/// All of the service. A test holds that none is missing.
pub(super) const METHODS: [&str; 15] = [
    "Start",
    "Append",
    "Restart",
    "StreamEvents",
    "GetTurn",
    "ListTurns",
    "CancelTurn",
    "GetConversation",
    "ListConversations",
    "ListEntries",
    "ListVersions",
    "DeleteConversation",
    "SetExpiration",
    "ExportConversations",
    "ImportConversations",
];

/// Messages within messages.
const DEPTH_MAX: usize = 7;

/// Makes requests, and learns ids from the answers, so that later requests meet what exists.
pub(super) struct Requests {
    dice: Dice,
    pool: DescriptorPool,
    ids: Vec<String>,
}

impl Requests {
    pub(super) fn new(dice: Dice) -> Requests {
        let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("our own descriptors");
        let ids = ["conv_", "turn_", "msg_", "call_", "agent_"].map(|kind| format!("{kind}{}", "0".repeat(32)));
        Requests { dice, pool, ids: ids.to_vec() }
    }

    /// The messages of a call, and whether they are whole: some are damaged.
    pub(super) fn next(&mut self, method: &str) -> (Vec<Bytes>, bool) {
        let service = self.pool.get_service_by_name("causerie.v1.ConversationService").expect("our service");
        assert_eq!(service.methods().len(), METHODS.len(), "every method is called");
        let input = service.methods().find(|known| known.name() == method).expect("a method of ours").input();
        let count = if method == "ImportConversations" { self.dice.below(5) } else { 1 };
        let damaged = self.dice.one_in(4);
        let messages = (0..count).map(|_| {
            let mut bytes =
                if self.dice.one_in(3) { self.likely(method) } else { self.message(&input, 0).encode_to_vec() };
            if damaged {
                self.damage(&mut bytes);
            }
            bytes.into()
        });
        (messages.collect(), !damaged)
    }

    /// Takes the ids of an answer.
    pub(super) fn learn(&mut self, method: &str, answer: &[Bytes]) {
        let Some(first) = answer.first() else { return };
        if let ("Start" | "Append" | "Restart", Ok(turn)) = (method, proto::Turn::decode(first.clone())) {
            let entries = turn.outputs.into_iter().map(|entry| entry.id);
            self.ids.extend([turn.id, turn.conversation_id].into_iter().chain(entries));
            let old = self.ids.len().saturating_sub(40);
            self.ids.drain(..old);
        }
    }

    /// A request that is likely to be taken.
    fn likely(&mut self, method: &str) -> Vec<u8> {
        let id = self.dice.pick(&self.ids).clone();
        let entry = self.dice.pick(&self.ids).clone();
        let (input, skip_completion) = (self.text(), self.dice.one_in(2));
        let model = "scripted-model".to_owned();
        match method {
            "Start" => proto::StartRequest { model, input, skip_completion, ..Default::default() }.encode_to_vec(),
            "Append" => proto::AppendRequest { conversation_id: id, input, skip_completion, ..Default::default() }
                .encode_to_vec(),
            "Restart" => proto::RestartRequest {
                conversation_id: id,
                from_entry_id: entry,
                input,
                skip_completion,
                ..Default::default()
            }
            .encode_to_vec(),
            // The others name one thing, in their first or second field.
            _ => proto::ListConversationsRequest { tree_of: id, ..Default::default() }.encode_to_vec(),
        }
    }

    fn damage(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.dice.below(6) {
            let (at, byte) = (self.dice.below(bytes.len() + 1), self.dice.number() as u8);
            match self.dice.below(3) {
                0 => bytes.insert(at, byte),
                1 if at < bytes.len() => bytes[at] = byte,
                _ => bytes.truncate(at),
            }
        }
    }

    fn message(&mut self, of: &MessageDescriptor, depth: usize) -> DynamicMessage {
        let mut message = DynamicMessage::new(of.clone());
        let likely = 2 + depth;
        for field in of.fields() {
            if self.dice.one_in(likely) && (depth < DEPTH_MAX || !matches!(field.kind(), Kind::Message(_))) {
                let value = self.field(&field, depth);
                message.set_field(&field, value);
            }
        }
        message
    }

    fn field(&mut self, field: &FieldDescriptor, depth: usize) -> Value {
        if field.is_map() {
            let Kind::Message(pair) = field.kind() else { unreachable!("maps are messages") };
            let value = pair.map_entry_value_field();
            let pairs = (0..self.dice.below(4)).map(|_| (MapKey::String(self.text()), self.value(&value, depth)));
            return Value::Map(pairs.collect());
        }
        if field.cardinality() == Cardinality::Repeated {
            return Value::List((0..self.dice.below(4)).map(|_| self.value(field, depth)).collect());
        }
        self.value(field, depth)
    }

    fn value(&mut self, field: &FieldDescriptor, depth: usize) -> Value {
        match field.kind() {
            Kind::Double => Value::F64(*self.dice.pick(&[0.0, 0.5, 1.0, -1.0, 1e308, f64::NAN, f64::NEG_INFINITY])),
            Kind::Float => Value::F32(f32::NAN),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(self.integer() as i32),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(self.integer()),
            Kind::Uint32 | Kind::Fixed32 => Value::U32(self.integer() as u32),
            Kind::Uint64 | Kind::Fixed64 => Value::U64(self.integer() as u64),
            Kind::Bool => Value::Bool(self.dice.one_in(2)),
            Kind::String if field.name().contains("id") || field.name() == "tree_of" => {
                if self.dice.one_in(4) {
                    Value::String(self.text())
                } else {
                    Value::String(self.dice.pick(&self.ids).clone())
                }
            }
            Kind::String => Value::String(self.text()),
            Kind::Bytes => Value::Bytes(self.dice.bytes(20).into()),
            Kind::Message(message) => Value::Message(self.message(&message, depth + 1)),
            Kind::Enum(numbers) => Value::EnumNumber(self.number_of(&numbers)),
        }
    }

    fn integer(&mut self) -> i64 {
        let number = self.dice.number() as i64;
        *self.dice.pick(&[0, 1, 2, 7, -1, 1000, i64::from(i32::MIN), i64::from(i32::MAX), i64::MIN, i64::MAX, number])
    }

    fn number_of(&mut self, numbers: &EnumDescriptor) -> i32 {
        let known: Vec<i32> = numbers.values().map(|value| value.number()).collect();
        if self.dice.one_in(5) { self.integer() as i32 } else { *self.dice.pick(&known) }
    }

    fn text(&mut self) -> String {
        let long = "x".repeat(self.dice.below(2000));
        let texts = [
            "",
            "Hello",
            "scripted-model",
            "two words",
            "ünïcödé \u{0} \u{202e}",
            "{\"a\":1}",
            "[",
            "http://a/b",
            "https://example.com/{a}",
            "production",
            "transfer_to_human",
            &long,
        ];
        (*self.dice.pick(&texts)).to_owned()
    }
}
