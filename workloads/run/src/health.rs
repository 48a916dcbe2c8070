//! How the replicas of a cluster are, as somebody knows who looks inside.

use burnin_runtime::{Instant, Runtime};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How often it is looked at.
pub(crate) const LOOK: Duration = Duration::from_millis(100);

/// Where the leaders' logs ended at some moment, by partition.
pub type Ends = BTreeMap<Arc<str>, i64>;

/// Who knows it.
pub trait Health: Send + Sync {
    /// Where the leaders' logs end now.
    fn ends(&self) -> Ends;

    /// The first partition without a leader that is alive and serves, and how many there are, in words.
    fn leaderless(&self) -> Option<String>;

    /// What is not as it should be: partitions without a leader, replicas that are not in sync, high watermarks that
    /// have not reached `ends`.
    fn complaints(&self, ends: &Ends) -> Vec<String>;
}

/// Waits until nothing is wrong; gives what still is at `until`.
pub(crate) async fn whole<R: Runtime>(
    runtime: &R,
    watch: &dyn Health,
    ends: &Ends,
    until: Instant,
) -> Vec<String> {
    loop {
        let complaints = watch.complaints(ends);
        if complaints.is_empty() || runtime.now() >= until {
            return complaints;
        }
        runtime.sleep(LOOK).await;
    }
}
