//! A tool's server: answers at once with a text that says which round it was asked in.

use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    task::LocalSet,
};

use crate::{Result, http::Messages, text, tooling};

/// Serves until the process ends.
pub(super) async fn serve(listener: TcpListener) -> Result<()> {
    let local = LocalSet::new();
    local
        .run_until(async move {
            loop {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                tokio::task::spawn_local(async move {
                    // A caller that hangs up is no fault.
                    drop(answer_all(stream).await);
                });
            }
        })
        .await
}

async fn answer_all(mut stream: TcpStream) -> Result<()> {
    let told = text::words(3, tooling::RESULT_BYTES);
    let mut messages = Messages::new();
    while let Some(message) = messages.next(&mut stream).await? {
        let round = tooling::round(message.head).ok_or("the tool was not told its round")?;
        let body = tooling::result(&told, round);
        let length = body.len();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\n\r\n");
        stream.write_all((head + &body).as_bytes()).await?;
    }
    Ok(())
}
