//! The generated types of `proto/causerie/v1`, and their descriptor set. Only `grpc` and `cli` may use them.
#![allow(missing_docs, unreachable_pub, clippy::all, reason = "generated; the documentation is in the .proto files")]

pub(crate) mod json;

tonic::include_proto!("causerie.v1");

/// `google.longrunning`: turns for clients that know operations.
pub mod longrunning {
    tonic::include_proto!("google.longrunning");
}

/// The encoded `FileDescriptorSet` of the contract, comments and options included.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/causerie.v1.bin"));
