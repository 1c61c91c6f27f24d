//! The floor of a durable turn: forward the request, append the record to a file, share an fdatasync, answer.
//!
//! No gRPC, no conversation, no index: what is left is what every service must pay that answers only when the turn is on
//! disk.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    net::SocketAddr,
    path::Path,
    sync::mpsc,
    thread,
};

use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::oneshot,
};

use crate::{Result, http::Messages, text};

/// A record and who waits for it.
type Append = (Vec<u8>, oneshot::Sender<()>);

/// Serves until the process ends.
pub(super) async fn serve(listener: TcpListener, upstream: SocketAddr, path: &Path) -> Result<()> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let (appends, waiting) = mpsc::channel();
    thread::spawn(move || flush_groups(file, &waiting));
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let appends = appends.clone();
        tokio::spawn(async move {
            // A caller that hangs up is no fault.
            drop(forward_all(stream, upstream, &appends).await);
        });
    }
}

async fn forward_all(mut caller: TcpStream, upstream: SocketAddr, appends: &mpsc::Sender<Append>) -> Result<()> {
    let mut provider = TcpStream::connect(upstream).await?;
    provider.set_nodelay(true)?;
    let (mut requests, mut answers) = (Messages::new(), Messages::new());
    while let Some(request) = requests.next(&mut caller).await? {
        provider.write_all(request.whole).await?;
        let answer = answers.next(&mut provider).await?.ok_or("the provider hung up")?;
        let (synced, on_disk) = oneshot::channel();
        appends.send((record(request.body, answer.body), synced))?;
        on_disk.await?;
        caller.write_all(answer.whole).await?;
    }
    Ok(())
}

/// As long as a question with its answer.
fn record(question: &[u8], answer: &[u8]) -> Vec<u8> {
    let mut record = answer[..answer.len().min(text::ANSWER_BYTES)].to_vec();
    record.extend_from_slice(&question[question.len().saturating_sub(text::QUESTION_BYTES)..]);
    record
}

/// While one group waits for the disk the next one gathers.
fn flush_groups(mut file: File, waiting: &mpsc::Receiver<Append>) {
    let (mut bytes, mut waiters) = (Vec::new(), Vec::new());
    while let Ok(first) = waiting.recv() {
        for (record, waiter) in [first].into_iter().chain(waiting.try_iter()) {
            bytes.extend_from_slice(&record);
            waiters.push(waiter);
        }
        file.write_all(&bytes).and_then(|()| file.sync_data()).expect("the disk takes the records");
        bytes.clear();
        for waiter in waiters.drain(..) {
            // A caller that hung up waits for nothing.
            waiter.send(()).ok();
        }
    }
}
