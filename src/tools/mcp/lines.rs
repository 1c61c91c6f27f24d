//! A program's output, of which a line may not be longer than a message. The SDK throws such a line away, and whoever waits for
//! the answer in it would wait until the call's time is over; here the connection ends, and says why.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, ReadBuf};

/// For a message of a server: the same that the SDK allows over HTTP.
pub(super) const MESSAGE_BYTES: usize = 16 << 20;

/// Reads until a line is too long.
pub(super) struct Lines<R> {
    inner: R,
    max_bytes: usize,
    /// Of the line that has begun.
    line_bytes: usize,
    was_too_long: Arc<AtomicBool>,
}

impl<R> Lines<R> {
    pub(super) fn new(inner: R, max_bytes: usize) -> Lines<R> {
        Lines { inner, max_bytes, line_bytes: 0, was_too_long: Arc::default() }
    }

    /// Tells whether a line was too long, later too.
    pub(super) fn was_too_long(&self) -> Arc<AtomicBool> {
        self.was_too_long.clone()
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Lines<R> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        let mut is_too_long = false;
        for part in buffer.filled()[before..].split_inclusive(|byte| *byte == b'\n') {
            self.line_bytes += part.len();
            is_too_long |= self.line_bytes > self.max_bytes;
            if part.ends_with(b"\n") {
                self.line_bytes = 0;
            }
        }
        if is_too_long {
            buffer.set_filled(before);
            self.was_too_long.store(true, Ordering::Relaxed);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "a line is too long")));
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    async fn read(text: &str) -> (io::Result<Vec<u8>>, bool) {
        let mut lines = Lines::new(text.as_bytes(), 4);
        let was_too_long = lines.was_too_long();
        let mut read = Vec::new();
        let ended = lines.read_to_end(&mut read).await;
        (ended.map(|_| read), was_too_long.load(Ordering::Relaxed))
    }

    #[tokio::test]
    async fn only_a_line_is_bounded() {
        for text in ["", "abc\n", "abc\nabc\n\nabc\n", "abcd"] {
            let (read, was_too_long) = read(text).await;
            assert_eq!(read.expect("short enough"), text.as_bytes());
            assert!(!was_too_long);
        }
        for text in ["abcde", "abc\nabcd\n", "abcd\n"] {
            let (read, was_too_long) = read(text).await;
            assert!(read.is_err() && was_too_long, "{text}");
        }
    }
}
