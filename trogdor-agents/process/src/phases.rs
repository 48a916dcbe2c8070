//! The run from boot to final read, until something ends it.

use crate::Options;
use crate::cluster::Cluster;
use crate::faults::ProcessFaults;
use crate::node::Death;
use burnin_report::Crash;
use burnin_run::{Broke, Ended, History, Injector};
use burnin_runtime::Runtime;
use burnin_scenario::Plan;
use parking_lot::Mutex;
use std::sync::Arc;

/// Why the phases did not come to their end.
enum Cut {
    Unproven(String),
    Violated,
    Died(Death),
    Abandoned,
}

/// Runs the whole plan.
pub(crate) async fn run(
    cluster: &Cluster,
    plan: &Plan,
    options: &Options,
    history: &Arc<Mutex<History>>,
) -> Result<Ended, Broke> {
    let stop_early = history.lock().stop_early.clone();
    let mut ended = Ended::default();
    let faults = ProcessFaults::new(cluster, plan);
    let mut injector = Injector::new(cluster.runtime().clone(), plan, faults);
    let cut = tokio::select! {
        biased;
        () = options.abandoned.notified() => Some(Cut::Abandoned),
        () = stop_early.notified() => Some(Cut::Violated),
        death = cluster.deaths.first() => Some(Cut::Died(death)),
        whole = burnin_run::phases(cluster.stage(), plan, &mut injector, &mut ended) => {
            whole.err().map(Cut::Unproven)
        }
    };
    injector.tell(&mut ended);
    match cut {
        None => {}
        Some(Cut::Unproven(why)) => ended.unproven = Some(why),
        Some(Cut::Violated) => ended.stopped_early = true,
        Some(Cut::Abandoned) => ended.unproven = Some("the run was abandoned".to_owned()),
        Some(Cut::Died(Death { node, crash: false, words })) => {
            ended.unproven = Some(format!("{node} {words}"));
        }
        Some(Cut::Died(Death { node, words, .. })) => {
            let at_ns = cluster.runtime().now().as_nanos();
            let task = "main".to_owned();
            return Err(Broke::Crash(Crash { node, task, message: words, at_ns, event: 0 }));
        }
    }
    Ok(ended)
}
