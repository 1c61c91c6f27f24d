//! The helper that reads with thousands of streams, as a section speaks to it.

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use crate::{Result, process::Helper, roles, service::Service};

/// Many who read, in a process of their own.
#[derive(Debug)]
pub(super) struct Crowd {
    lines: BufReader<TcpStream>,
    _helper: Helper,
}

/// What came to all of them so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tally {
    pub(super) messages: f64,
    pub(super) events: f64,
}

impl Crowd {
    /// Nobody yet.
    pub(super) async fn start(service: &Service) -> Result<Crowd> {
        let helper = Helper::start(roles::CROWD, &[service.uri()])?;
        let lines = BufReader::new(TcpStream::connect(helper.address()).await?);
        Ok(Crowd { lines, _helper: helper })
    }

    /// Says so and waits for the answer.
    pub(super) async fn tell(&mut self, command: &str) -> Result<Tally> {
        self.lines.write_all(format!("{command}\n").as_bytes()).await?;
        let mut line = String::new();
        self.lines.read_line(&mut line).await?;
        let numbers: Vec<f64> = line.split_whitespace().map(str::parse).collect::<std::result::Result<_, _>>()?;
        match numbers[..] {
            [messages, events] => Ok(Tally { messages, events }),
            _ => Err(format!("the crowd failed at {command:?}; stderr says why").into()),
        }
    }
}
