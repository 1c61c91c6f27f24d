//! Memory of open streams on which nothing happens: the provider stops after the first piece.

use std::time::Duration;

use tokio::time::sleep;
use tonic::Streaming;

use super::contest::{clear, provider, setup};
use crate::{
    Result,
    args::Bench,
    load::grpc::{self, Client},
    report::{Figure, Mark, Unit},
    roles::Mode,
    service::Service,
    text,
};
use causerie::proto::Event;

const SECTION: &str = "streams";

/// After the last stream has opened: buffers that were only needed for that are given back by then.
const SETTLE: Duration = Duration::from_millis(500);

/// Streams that are opened first and not counted, so that what is made once is not put on the bill of the others.
const FIRST_STREAMS: usize = 64;

/// Resident memory for each further stream.
pub(crate) async fn run(bench: &Bench) -> Result<Vec<Figure>> {
    let [few, many] = bench.scale.idle_streams;
    let (mut slopes, mut totals) = (Vec::new(), Vec::new());
    for _ in 0..bench.scale.repetitions {
        let [none, at_few, at_many] = measure(bench, few, many).await?;
        slopes.push((at_many - at_few) / (many - few) as f64 / 1024.0);
        totals.push((at_many - none) / many as f64 / 1024.0);
        clear(bench)?;
    }
    let slope = format!("memory of an open idle stream, {few} to {many}");
    let total = format!("the same, 0 to {many}");
    Ok(vec![
        Figure::new(SECTION, slope, Unit::KiB, slopes).mark(Mark::AtMost(40.0)),
        Figure::new(SECTION, total, Unit::KiB, totals),
    ])
}

/// Resident bytes with none, few and many streams.
async fn measure(bench: &Bench, few: usize, many: usize) -> Result<[f64; 3]> {
    let provider = provider()?;
    let service = Service::start(&setup(bench, "idle", &provider, Mode::Stall, true)?).await?;
    let clients = grpc::clients(service.uri(), FIRST_STREAMS + many).await?;
    let mut streams = Vec::new();
    let mut resident = [0.0; 3];
    for (bytes, count) in resident.iter_mut().zip([0, few, many]) {
        open(&clients[streams.len()..FIRST_STREAMS + count], &mut streams).await?;
        sleep(SETTLE).await;
        *bytes = service.pid().resident_bytes()?;
    }
    Ok(resident)
}

/// Opens a stream for each client and waits for its first delta.
async fn open(clients: &[Client], streams: &mut Vec<Streaming<Event>>) -> Result<()> {
    for client in clients {
        let request = grpc::stream(text::words(2, text::QUESTION_BYTES));
        let mut events = client.clone().stream_events(request).await?.into_inner();
        loop {
            let event = events.message().await?.ok_or("an idle stream ended")?;
            if grpc::deltas(&event) > 0 {
                break;
            }
        }
        streams.push(events);
    }
    Ok(())
}
