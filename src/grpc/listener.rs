//! Accepts connections.
//!
//! With what a server that talks to strangers needs: TCP_NODELAY (without it tokens arrive in clumps of 40 ms), a time limit
//! for sockets that say nothing, a limit on connections, and a pause when the process has no file descriptor left.

mod connection;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

pub use connection::Connection;

/// Warnings that repeat with every connection are written once in this time.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// What a connection is allowed.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections open at a time; more are closed as soon as they are accepted, so that their callers try elsewhere.
    pub connections_max: u32,
    /// How long a new connection may take to send the HTTP/2 preface, or as many bytes of a request in HTTP/1.1.
    pub preface_timeout: Duration,
    /// How long a caller may leave what was sent to it untaken; `None` where the protocol above finds out by itself.
    pub write_timeout: Option<Duration>,
}

/// The signals that end connections.
#[derive(Clone, Debug)]
pub struct Signals {
    /// Closes connections that have not sent their preface: nothing is lost with them.
    pub stop: CancellationToken,
    /// Closes every connection, whatever it is doing.
    pub cut: CancellationToken,
}

/// Accepts from one listener; dropping it closes the listener.
#[derive(Debug)]
pub struct Acceptor {
    listener: TcpListener,
    limits: Limits,
    signals: Signals,
    slots: Arc<Semaphore>,
    warned: Option<Instant>,
}

impl Acceptor {
    /// Accepts from `listener` within `limits`.
    #[must_use]
    pub fn new(listener: TcpListener, limits: Limits, signals: Signals) -> Self {
        let slots = Arc::new(Semaphore::new(limits.connections_max as usize));
        Self { listener, limits, signals, slots, warned: None }
    }

    /// The next connection. Nothing is lost if the future is dropped.
    pub async fn next(&mut self) -> Connection {
        loop {
            match self.listener.accept().await {
                Ok((socket, _)) => {
                    if let Some(connection) = self.admit(socket) {
                        return connection;
                    }
                }
                Err(error) => self.recover(&error).await,
            }
        }
    }

    fn admit(&mut self, socket: TcpStream) -> Option<Connection> {
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            let max = self.limits.connections_max;
            self.warn(&format_args!("refusing connections: all {max} are in use"));
            return None;
        };
        // Fails only for a socket that is gone already, which the first read will tell.
        let _ = socket.set_nodelay(true);
        Some(Connection::new(socket, &self.limits, &self.signals, slot))
    }

    async fn recover(&mut self, error: &io::Error) {
        if let Some(pause) = pause_after(error) {
            self.warn(&format_args!("cannot accept connections: {error}"));
            sleep(pause).await;
        }
    }

    fn warn(&mut self, text: &std::fmt::Arguments<'_>) {
        if self.warned.is_none_or(|last| last.elapsed() > WARN_EVERY) {
            self.warned = Some(Instant::now());
            tracing::warn!("{text}");
        }
    }
}

/// How long to wait after a failed accept. An error of one connection needs no wait; any other (EMFILE, ENFILE, ENOBUFS,
/// ENOMEM) would come back at once, in a loop that takes a whole core.
fn pause_after(error: &io::Error) -> Option<Duration> {
    match error.kind() {
        io::ErrorKind::ConnectionAborted
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionRefused
        | io::ErrorKind::Interrupted => None,
        _ => Some(Duration::from_millis(100)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_when_no_descriptor_is_left_and_not_for_an_aborted_connection() {
        let emfile = rustix::io::Errno::MFILE.into();
        assert!(pause_after(&emfile).is_some());
        let aborted = rustix::io::Errno::CONNABORTED.into();
        assert!(pause_after(&aborted).is_none());
    }

    #[tokio::test]
    async fn an_accepted_socket_does_not_hold_small_frames_back() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let limits = Limits { connections_max: 1, preface_timeout: Duration::from_secs(10), write_timeout: None };
        let signals = Signals { stop: CancellationToken::new(), cut: CancellationToken::new() };
        let mut acceptor = Acceptor::new(listener, limits, signals);
        let _caller = TcpStream::connect(address).await.expect("connected");
        let connection = acceptor.next().await;
        assert!(connection.is_nodelay().expect("a socket option"));
    }
}
