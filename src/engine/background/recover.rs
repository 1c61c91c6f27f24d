//! After a start: the turns that were queued or running go on.

use super::*;

impl Engine {
    /// Queues the turns that waited or ran when the server went down. They are begun by [`Engine::work`]. Returns how many there
    /// are.
    pub async fn recover_background(&self) -> Result<usize, Failure> {
        let shared = self.shared.clone();
        let jobs = self.shared.blocking(move || shared.store.jobs()).await?.map_err(failures::store)?;
        let now = ids::now();
        let known: std::collections::HashSet<TurnId> = jobs.iter().map(|job| job.turn_id).collect();
        for job in &jobs {
            let model = self.shared.opening_of(job).model;
            let waiting = self.shared.waiting_of(job, &model);
            let waits = job.state.after.is_some_and(|after| known.contains(&after));
            self.shared.background.lock().queue.insert(waiting, waits, now);
        }
        Ok(jobs.len())
    }
}
