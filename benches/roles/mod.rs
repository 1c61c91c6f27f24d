//! What this binary is when it is started as a helper.

mod canned;
mod crowd;
mod hop;
mod limited;
mod paced;
mod provider;
mod tool;

use std::{
    env,
    io::{self, Read},
    net::SocketAddr,
    thread,
};

use tokio::{net::TcpListener, runtime};

pub(crate) use self::{
    canned::{STREAM_CHUNKS, Stamp},
    limited::A_MINUTE as REQUESTS_A_MINUTE,
    provider::Mode,
};
use crate::Result;

/// Names the role in a helper's environment.
pub(crate) const VARIABLE: &str = "CAUSERIE_BENCH_ROLE";

/// The stand-in for the provider.
pub(crate) const PROVIDER: &str = "provider";

/// A provider with a limit on requests a minute.
pub(crate) const LIMITED: &str = "limited";

/// A hop that forwards, appends and shares an fdatasync. Arguments: the provider's address, the file.
pub(crate) const HOP: &str = "hop";

/// A provider with one stream at a steady pace.
pub(crate) const PACED: &str = "paced";

/// Many who read. Argument: the service.
pub(crate) const CROWD: &str = "crowd";

/// A tool's server.
pub(crate) const TOOL: &str = "tool";

/// Plays the role until stdin is closed.
pub(crate) fn play(role: &str) -> Result<()> {
    // One thread: least cost a request, and its share of the machine is plain to see.
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    thread::spawn(|| {
        // Ends with the process that started us, even if that one is killed.
        drop(io::stdin().read_to_end(&mut Vec::new()));
        std::process::exit(0);
    });
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        let mut arguments = env::args().skip(1);
        match role {
            PROVIDER => provider::serve(listener).await,
            TOOL => tool::serve(listener).await,
            LIMITED => limited::serve(listener).await,
            PACED => paced::serve(listener).await,
            CROWD => crowd::serve(listener, arguments.next().ok_or("the service's address is missing")?).await,
            HOP => {
                let upstream: SocketAddr = arguments.next().ok_or("the provider's address is missing")?.parse()?;
                let file = arguments.next().ok_or("the file is missing")?;
                hop::serve(listener, upstream, file.as_ref()).await
            }
            other => Err(format!("{other} is no role").into()),
        }
    })
}
