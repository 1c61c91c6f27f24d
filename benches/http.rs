//! As much HTTP/1.1 as the stand-in and the bare hop need, at the least cost: keep-alive, bodies with a length.

use std::{io, time::SystemTime};

use bytes::{Buf, BytesMut};
use tokio::{io::AsyncReadExt, net::TcpStream};

/// Enough for a question in one read; a long history grows it once.
const FIRST_BYTES: usize = 64 * 1024;

/// A connection's incoming side: messages one after the other.
#[derive(Debug)]
pub(crate) struct Messages {
    buffer: BytesMut,
    taken: usize,
}

/// A message that has arrived whole.
#[derive(Debug)]
pub(crate) struct Message<'a> {
    /// The first line and the headers.
    pub(crate) head: &'a [u8],
    /// The body.
    pub(crate) body: &'a [u8],
    /// All of it, to be passed on as it is.
    pub(crate) whole: &'a [u8],
    /// When its first bytes were read.
    pub(crate) begun: SystemTime,
}

impl Messages {
    /// Of a connection that nothing was read from.
    pub(crate) fn new() -> Messages {
        Messages { buffer: BytesMut::with_capacity(FIRST_BYTES), taken: 0 }
    }

    /// The next message; none at the connection's end.
    pub(crate) async fn next(&mut self, from: &mut TcpStream) -> io::Result<Option<Message<'_>>> {
        self.buffer.advance(self.taken);
        self.taken = 0;
        let mut begun = (!self.buffer.is_empty()).then(SystemTime::now);
        let head = loop {
            if let Some(end) = head_end(&self.buffer) {
                break end;
            }
            if !self.fill(from, FIRST_BYTES).await? {
                return Ok(None);
            }
            begun.get_or_insert_with(SystemTime::now);
        };
        let whole = head + body_length(&self.buffer[..head])?;
        while self.buffer.len() < whole {
            if !self.fill(from, whole - self.buffer.len()).await? {
                return Ok(None);
            }
        }
        self.taken = whole;
        let (head, body) = self.buffer[..whole].split_at(head);
        let begun = begun.unwrap_or_else(SystemTime::now);
        Ok(Some(Message { head, body, whole: &self.buffer[..whole], begun }))
    }

    async fn fill(&mut self, from: &mut TcpStream, bytes: usize) -> io::Result<bool> {
        self.buffer.reserve(bytes);
        Ok(from.read_buf(&mut self.buffer).await? > 0)
    }
}

fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

fn body_length(head: &[u8]) -> io::Result<usize> {
    let text = str::from_utf8(head).map_err(io::Error::other)?;
    for line in text.split("\r\n") {
        let Some((name, value)) = line.split_once(':') else { continue };
        if name.eq_ignore_ascii_case("content-length") {
            return value.trim().parse().map_err(io::Error::other);
        }
        if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(io::Error::other("the stand-in takes no chunked bodies"));
        }
    }
    Ok(0)
}
