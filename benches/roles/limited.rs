//! A provider that allows so many requests a minute, counted in fixed minutes, and says in each answer what is left.

use std::{cell::RefCell, rc::Rc};

use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    task::LocalSet,
    time::{Duration, Instant},
};

use crate::{Result, http::Messages};

/// Requests that a minute has.
pub(crate) const A_MINUTE: u64 = 600;

const MINUTE: Duration = Duration::from_secs(60);
const ANSWER: &str = r#"{"id":"1","object":"chat.completion","created":1764000000,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Yes."},"finish_reason":"stop"}],"usage":{"prompt_tokens":20,"completion_tokens":5,"total_tokens":25}}"#;
const REFUSAL: &str = r#"{"message":"Requests rate limit exceeded"}"#;

/// What was asked so far.
#[derive(Debug)]
struct Account {
    minute: Instant,
    used: u64,
    refused: u64,
}

/// Serves until the process ends. `GET` answers with how many requests were refused.
pub(super) async fn serve(listener: TcpListener) -> Result<()> {
    let account = Rc::new(RefCell::new(Account { minute: Instant::now(), used: 0, refused: 0 }));
    let local = LocalSet::new();
    local
        .run_until(async move {
            loop {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                let account = account.clone();
                tokio::task::spawn_local(async move {
                    // A caller that hangs up is no fault.
                    drop(answer_all(stream, &account).await);
                });
            }
        })
        .await
}

async fn answer_all(mut stream: TcpStream, account: &RefCell<Account>) -> Result<()> {
    let mut messages = Messages::new();
    while let Some(message) = messages.next(&mut stream).await? {
        let answer = if message.head.starts_with(b"GET ") {
            let refused = account.borrow().refused.to_string();
            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{refused}", refused.len())
        } else {
            account.borrow_mut().answer()
        };
        stream.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}

impl Account {
    fn answer(&mut self) -> String {
        if self.minute.elapsed() >= MINUTE {
            (self.minute, self.used) = (Instant::now(), 0);
        }
        let (status, body) = if self.used < A_MINUTE {
            self.used += 1;
            ("200 OK", ANSWER)
        } else {
            self.refused += 1;
            ("429 Too Many Requests", REFUSAL)
        };
        let left = A_MINUTE - self.used;
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nx-ratelimit-limit-req-minute: {A_MINUTE}\r\n\
             x-ratelimit-remaining-req-minute: {left}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    }
}
