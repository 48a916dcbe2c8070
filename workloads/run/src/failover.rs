//! How long partitions were without a leader that is alive and serves, on a target that looks inside.

use crate::health::{Health, LOOK};
use burnin_drivers::Stop;
use burnin_runtime::{Instant, Runtime};
use std::sync::Arc;
use std::time::Duration;

/// The longest time in which some partition was without a leader all along.
#[derive(Clone, Debug, Default)]
pub struct Failover {
    /// How long, give or take a look.
    pub lasted: Duration,
    /// When it was over.
    pub until: Instant,
    /// Who was without a leader for how long, in words.
    pub what: String,
}

/// Looks until it is stopped.
pub(crate) async fn watch<R: Runtime>(runtime: R, watch: Arc<dyn Health>, stop: Stop) -> Failover {
    let mut longest = Failover::default();
    let mut since: Option<(Instant, String)> = None;
    while !stop.is_stopped() {
        let now = runtime.now();
        since = match (watch.leaderless(), since) {
            (Some(what), None) => Some((now, what)),
            (Some(_), since) => since,
            (None, _) => None,
        };
        if let Some((began, what)) = &since
            && now.since(*began) > longest.lasted
        {
            longest = Failover { lasted: now.since(*began), until: now, what: what.clone() };
        }
        tokio::select! {
            biased;
            () = stop.stopped() => {}
            () = runtime.sleep(LOOK) => {}
        }
    }
    longest
}
