//! One accepted connection.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::transport::server::{Connected, TcpConnectInfo};

use super::{Limits, Signals};

/// `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n` (RFC 9113, 3.4).
const PREFACE_LENGTH: usize = 24;

/// A socket that fails when its caller says nothing for too long, or when the server wants it closed, at whatever
/// point the protocol above it is.
#[derive(Debug)]
pub struct Connection {
    socket: TcpStream,
    preface: Option<Preface>,
    stall: Option<Stall>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    _slot: OwnedSemaphorePermit,
}

/// The wait for the first bytes; over once they are all there.
#[derive(Debug)]
struct Preface {
    missing: usize,
    timeout: Pin<Box<Sleep>>,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Connection {
    pub(super) fn new(socket: TcpStream, limits: &Limits, signals: &Signals, slot: OwnedSemaphorePermit) -> Self {
        let preface = Preface {
            missing: PREFACE_LENGTH,
            timeout: Box::pin(sleep(limits.preface_timeout)),
            stop: Box::pin(signals.stop.clone().cancelled_owned()),
        };
        Self {
            socket,
            preface: Some(preface),
            stall: limits.write_timeout.map(|timeout| Stall { timeout, over: None }),
            cut: Box::pin(signals.cut.clone().cancelled_owned()),
            _slot: slot,
        }
    }

    /// Both addresses, in tonic's own type so that `tonic::Request::remote_addr` works.
    #[must_use]
    pub fn info(&self) -> TcpConnectInfo {
        self.socket.connect_info()
    }

    /// Whether small frames are sent at once.
    ///
    /// # Errors
    ///
    /// If the socket cannot be asked.
    pub fn is_nodelay(&self) -> io::Result<bool> {
        self.socket.nodelay()
    }

    fn check_cut(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.cut.as_mut().poll(cx) {
            Poll::Ready(()) => {
                Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the server's drain deadline has passed"))
            }
            Poll::Pending => Ok(()),
        }
    }

    fn note_read(&mut self, count: usize) {
        if let Some(preface) = &mut self.preface {
            preface.missing = preface.missing.saturating_sub(count);
            if preface.missing == 0 {
                self.preface = None;
            }
        }
    }
}

impl Connection {
    fn note_write(&mut self, waits: bool, cx: &mut Context<'_>) -> io::Result<()> {
        self.stall.as_mut().map_or(Ok(()), |stall| stall.check(waits, cx))
    }
}

impl Preface {
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.timeout.as_mut().poll(cx).is_ready() {
            let text = "no HTTP/2 preface in time";
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        if self.stop.as_mut().poll(cx).is_ready() {
            let text = "the server stops, and no call has begun";
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, text));
        }
        Ok(())
    }
}

/// The wait for a caller that takes nothing.
#[derive(Debug)]
struct Stall {
    timeout: Duration,
    /// Runs while a write waits.
    over: Option<Pin<Box<Sleep>>>,
}

impl Stall {
    /// Fails if writes have waited for too long, each as long as the one before waited too.
    fn check(&mut self, waits: bool, cx: &mut Context<'_>) -> io::Result<()> {
        if !waits {
            self.over = None;
            return Ok(());
        }
        let timeout = self.timeout;
        let over = self.over.get_or_insert_with(|| Box::pin(sleep(timeout)));
        match over.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::Error::new(io::ErrorKind::TimedOut, "the caller takes nothing any more")),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check_cut(cx)?;
        let filled = buffer.filled().len();
        let outcome = Pin::new(&mut self.socket).poll_read(cx, buffer);
        match (&outcome, &mut self.preface) {
            (Poll::Ready(_), _) => self.note_read(buffer.filled().len() - filled),
            (Poll::Pending, Some(preface)) => preface.check(cx)?,
            (Poll::Pending, None) => {}
        }
        outcome
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check_cut(cx)?;
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.note_write(written.is_pending(), cx)?;
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check_cut(cx)?;
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, slices);
        self.note_write(written.is_pending(), cx)?;
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
