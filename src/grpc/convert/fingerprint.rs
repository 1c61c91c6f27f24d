//! What tells a repeated request from another one with the same request id.

use std::hash::Hasher;

use prost::Message;
use siphasher::sip128::{Hasher128, SipHasher24};

/// Changing the key makes every repeated request look like another one. It is no secret: a caller who makes two of its own
/// requests collide gets its own turn back.
const KEY: [u8; 16] = *b"causerie request";

/// Which method's request it is. Kept in stores: numbers are never reused.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
pub(super) enum Method {
    Start = 1,
    Append = 2,
    Restart = 3,
    CreateAgent = 4,
    RunBatch = 5,
}

/// A hash of the request, whose request id the caller of this has taken out. The same for a unary call and a stream; fields
/// that this release does not know don't count, a default that is written out does.
pub(super) fn of(method: Method, request: &impl Message) -> [u8; 16] {
    let mut hasher = SipHasher24::new_with_key(&KEY);
    hasher.write_u8(method as u8);
    // Maps are ordered in the generated types, so equal requests have equal bytes.
    hasher.write(&request.encode_to_vec());
    hasher.finish128().as_bytes()
}
