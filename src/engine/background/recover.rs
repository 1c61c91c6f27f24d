//! After a start: the turns that were queued or running go on.

use super::*;

impl Engine {
    /// Queues the turns that waited or ran when the server went down. They are begun by [`Engine::work`]. Returns how many there
    /// are.
    pub async fn recover_background(&self) -> Result<usize, Failure> {
        let shared = self.shared.clone();
        let line_up = move || {
            let jobs = shared.store.jobs().map_err(failures::store)?;
            // Oldest first: what a turn waits for is there before it.
            for job in &jobs {
                let (model, _) = shared.led_by(job).unwrap_or_default();
                shared.line_up(job, &model);
            }
            Ok(jobs.len())
        };
        self.shared.blocking(line_up).await?
    }
}
