use std::time::Duration;

use super::{reader::Reader, rule::Rule};

/// How long conversations are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversations {
    /// How long after its first turn a tree is deleted that says nothing else; `None`: never.
    pub ttl: Option<Duration>,
}

impl Conversations {
    pub(super) fn read(from: &mut Reader<'_>) -> Conversations {
        let ttl = from.get(
            "conversations.ttl",
            Rule::duration("0s", "36500d"),
            "0s",
            "How long after its first turn a conversation is deleted with all its versions, unless its Start or \
             SetExpiration says something else. 0s: never.",
        );
        Conversations { ttl: Some(ttl).filter(|ttl: &Duration| !ttl.is_zero()) }
    }
}
