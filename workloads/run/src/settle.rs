//! The end of a run: everything is healed, so writers and readers must get on, and everything is read back.

use crate::health::{Health, LOOK, whole};
use crate::outcome::Ended;
use crate::stage::Stage;
use crate::workloads::{ADMIN_CALL, ADMIN_REQUEST, Administrator, Workloads, patience};
use burnin_client::{Client, ClientConfig};
use burnin_drivers::{AdminProgress, Described, FinalReadConfig, describe_settled, final_read};
use burnin_runtime::{Instant, Runtime};
use burnin_scenario::{CheckKind, Plan, WorkloadAction};
use std::sync::Arc;
use std::time::Duration;

/// How long it may take, when nobody writes any more, until every high watermark is at the end of its log.
const QUIET: Duration = Duration::from_secs(10);

/// The topic that shows in the end which broker has applied everything.
const MARKER: &str = "everything-is-settled";

/// Reading back has this long in any case: draining the writers may have taken a part of the settling time.
const FINAL_READ: Duration = Duration::from_secs(60);

/// Lets everything settle until `until` at the latest, ends the workloads, and reads everything back.
/// `obituaries` says which brokers are down although everything was healed, and why.
pub async fn settle<R: Runtime>(
    stage: &Stage<R>,
    plan: &Plan,
    mut workloads: Workloads<R>,
    until: Instant,
    obituaries: impl Fn() -> Vec<String>,
    ended: &mut Ended,
) {
    let runtime = stage.clients[0].clone();
    let is_due = plan.check.iter().any(|check| matches!(check.kind, CheckKind::Progress { .. }));
    let recovered_by = runtime.now() + patience(plan);
    let watch = stage.watch.as_deref();
    let administrators = std::mem::take(&mut workloads.administrators);
    let asked: Vec<_> = administrators.iter().map(|one| one.progress.clone()).collect();
    workloads.stop_administrators.stop();
    let mut stuck = end_administrators(administrators, ended).await;
    stuck.extend(progress(&runtime, &workloads, watch, recovered_by).await);
    if is_due {
        ended.stuck = stuck;
    }
    workloads.stop_watching.stop();
    if let Some(watching) = workloads.failover.take() {
        match watching.await {
            Ok(failover) => ended.failover = Some(failover),
            Err(error) => ended.unproven = Some(format!("the watch for leaders: {error}")),
        }
    }
    workloads.stop_writers.stop();
    for writer in workloads.writers {
        match writer.task.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => ended.unproven = Some(format!("writer {} failed: {error}", writer.name)),
            Err(error) => ended.unproven = Some(format!("writer {}: {error}", writer.name)),
        }
    }
    if let (true, Some(watch), true) = (is_due, watch, ended.stuck.is_empty()) {
        let until = recovered_by.max(runtime.now() + QUIET);
        ended.stuck = whole(&runtime, watch, &watch.ends(), until).await;
    }
    if ended.stuck.is_empty() && !asked.is_empty() {
        let until = recovered_by.max(runtime.now() + QUIET);
        match describe(stage, plan, &asked, until).await {
            Ok(()) => {}
            Err(why) if is_due => ended.stuck.push(why),
            Err(why) => ended.unproven = Some(why),
        }
    }
    workloads.stop_readers.stop();
    for reader in workloads.readers {
        match reader.task.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => ended.unproven = Some(format!("reader {} failed: {error}", reader.name)),
            Err(error) => ended.unproven = Some(format!("reader {}: {error}", reader.name)),
        }
    }
    ended.stuck_at = runtime.now().as_nanos();
    // In a cluster nobody stays away for good.
    if !ended.stuck.is_empty() || is_due && watch.is_some() {
        ended.stuck.extend(obituaries());
    }
    let config = stage.client_config("final-read", Duration::from_secs(5), Duration::from_millis(100));
    let until = until.max(runtime.now() + FINAL_READ);
    let reading = async {
        let client = Client::new(runtime, config)?;
        let parts = stage.topology.parts().to_vec();
        let reading = FinalReadConfig::new(workloads.next_consumer, parts, until);
        final_read(client, stage.recorder.clone(), reading).await
    };
    match reading.await {
        Ok(report) => ended.final_read = Some(report),
        Err(error) => ended.unproven = Some(format!("the final read failed: {error}")),
    }
}

/// Waits until what administrators began has come to its end, and gives what has not. One that did nothing at all proves
/// nothing.
async fn end_administrators<R: Runtime>(
    administrators: Vec<Administrator<R>>,
    ended: &mut Ended,
) -> Vec<String> {
    let mut stuck = Vec::new();
    for Administrator { name, progress, task } in administrators {
        match task.await {
            Ok(left) => stuck.extend(left.into_iter().map(|what| format!("administrator {name}: {what}"))),
            Err(error) => ended.unproven = Some(format!("administrator {name}: {error}")),
        }
        if progress.applied().is_empty() {
            ended.unproven = Some(format!("administrator {name} carried out nothing"));
        }
    }
    stuck
}

/// What administrators have changed, as every broker shows it in the end.
async fn describe<R: Runtime>(
    stage: &Stage<R>,
    plan: &Plan,
    asked: &[Arc<AdminProgress>],
    until: Instant,
) -> Result<(), String> {
    let topics = asked.iter().flat_map(|progress| progress.changed()).collect();
    let configs = plan.workload.iter().filter_map(|workload| match &workload.kind {
        WorkloadAction::Admin { config, .. } => Some(config.keys().cloned()),
        _ => None,
    });
    let what = Described { topics, configs: configs.flatten().collect() };
    if what.topics.is_empty() {
        return Ok(());
    }
    let config = ClientConfig {
        api_timeout: ADMIN_CALL,
        ..stage.client_config(MARKER, ADMIN_REQUEST, Duration::from_millis(100))
    };
    let client = Client::new(stage.clients[0].clone(), config).map_err(|error| error.to_string())?;
    describe_settled(client, stage.recorder.clone(), MARKER, &what, until).await
}

/// Waits until each writer was acknowledged something that it wrote after the call, and each reader has read
/// something since; every partition has a leader, all its replicas are in sync and its high watermark has reached
/// what was the end of the log at the call. Gives what is missing by `until`.
async fn progress<R: Runtime>(
    runtime: &R,
    workloads: &Workloads<R>,
    watch: Option<&dyn Health>,
    until: Instant,
) -> Vec<String> {
    let began = runtime.now().as_nanos();
    let ends = watch.map(Health::ends).unwrap_or_default();
    loop {
        let mut stuck = watch.map(|watch| watch.complaints(&ends)).unwrap_or_default();
        for writer in &workloads.writers {
            let answered = writer.progress.last_applied_at() > began;
            // With acks=0 nothing is ever acknowledged: that it goes on sending is all that can be asked for.
            if !answered && (writer.progress.applied() > 0 || writer.progress.maybe() == 0) {
                stuck.push(format!(
                    "writer {} was acknowledged nothing since everything was healed",
                    writer.name
                ));
            }
        }
        for reader in &workloads.readers {
            if reader.progress.last_read_at() <= began {
                stuck.push(format!("reader {} read nothing since everything was healed", reader.name));
            }
        }
        if stuck.is_empty() || runtime.now() >= until {
            return stuck;
        }
        runtime.sleep(LOOK).await;
    }
}
