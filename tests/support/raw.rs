//! Calls with bytes that no generated client would send.

use bytes::{Buf, BufMut, Bytes};
use tonic::{
    Request, Status, Streaming,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
    transport::Channel,
};

/// Messages as they are.
#[derive(Debug, Clone, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// Sends these messages to a method of the service and reads at most `most` messages of its answer.
pub(crate) async fn call(
    channel: &Channel,
    (method, id): (&str, &str),
    messages: Vec<Bytes>,
    most: usize,
) -> Result<Vec<Bytes>, Status> {
    let path = format!("/causerie.v1.ConversationService/{method}");
    let path = PathAndQuery::try_from(path).expect("a path");
    let mut grpc = Grpc::new(channel.clone()).max_decoding_message_size(64 << 20);
    grpc.ready().await.map_err(|error| Status::unknown(format!("not connected: {error}")))?;
    let request: Request<_> = super::status::named(id, ()).map(|()| tokio_stream::iter(messages));
    let mut answer: Streaming<Bytes> = grpc.streaming(request, path, Raw).await?.into_inner();
    let mut read = Vec::new();
    while read.len() < most
        && let Some(message) = answer.message().await?
    {
        read.push(message);
    }
    Ok(read)
}
