//! The run from boot to final read.

use crate::workloads::{self, Workloads};
use crate::world::World;
use burnin_client::{Client, NewTopic};
use burnin_drivers::{FinalReadConfig, FinalReadReport, ensure_topic, final_read};
use burnin_engine::SimRuntime;
use burnin_faults::{Fired, Injector};
use burnin_runtime::{Instant, Runtime};
use burnin_scenario::{CheckKind, Plan};
use std::time::Duration;

/// How often progress is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// How a run ended.
#[derive(Default)]
pub(crate) struct Ended {
    /// What happened of the schedule.
    pub fired: Vec<Fired>,
    /// How often a fault had to wait.
    pub waits: u64,
    /// Entries whose time came and which never began.
    pub never_fired: Vec<String>,
    /// Nothing was proven: why.
    pub unproven: Option<String>,
    /// Writers and readers that did not get on after everything was healed.
    pub stuck: Vec<String>,
    /// When that was noticed, in nanoseconds.
    pub stuck_at: u64,
    /// A violation ended the run early.
    pub stopped_early: bool,
    pub final_read: Option<FinalReadReport>,
}

/// Runs the whole plan.
pub(crate) async fn run(world: World, plan: Plan) -> Ended {
    let mut ended = Ended::default();
    if let Some(why) = world.unusable() {
        ended.unproven = Some(why.to_owned());
        return ended;
    }
    let stop_early = world.history().lock().stop_early.clone();
    let mut injector = Injector::new(world.sim().clone(), world.cast(), &world, &plan);
    let early = {
        let whole = phases(&world, &plan, &mut injector, &mut ended);
        tokio::select! {
            biased;
            () = stop_early.notified() => true,
            () = whole => false,
        }
    };
    ended.stopped_early = early;
    ended.fired = injector.fired().to_vec();
    ended.waits = injector.waits();
    ended.never_fired = injector.never_fired();
    ended
}

async fn phases(world: &World, plan: &Plan, injector: &mut Injector<'_, World>, ended: &mut Ended) {
    world.topology().introduce(&world.recorder());
    world.announce_retention(plan);
    if let Err(why) = injector.boot() {
        ended.unproven = Some(why.to_string());
        return;
    }
    if let Err(why) = create_topics(world, plan).await {
        ended.unproven = Some(format!("the topics could not be created: {why}"));
        return;
    }
    let workloads = match Workloads::start(world, plan) {
        Ok(workloads) => workloads,
        Err(error) => {
            ended.unproven = Some(format!("a client could not be set up: {error}"));
            return;
        }
    };
    let heal_at = Instant::ZERO + plan.run.heal_at().std();
    if let Err(failure) = injector.run(heal_at).await {
        ended.unproven = Some(failure.to_string());
        return;
    }
    if let Err(failure) = injector.heal().await {
        ended.unproven = Some(failure.to_string());
        return;
    }
    settle(world, plan, workloads, ended).await;
}

/// Creates the plan's topics, from the first client node.
async fn create_topics(world: &World, plan: &Plan) -> Result<(), String> {
    let runtime = world.sim().runtime(world.cast().clients[0]);
    let config = workloads::client_config(world, "setup", Duration::from_secs(2), Duration::from_millis(20));
    let client = Client::new(runtime.clone(), config).map_err(|error| error.to_string())?;
    let until = runtime.now() + Duration::from_secs(60);
    for topic in &plan.topology.topic {
        let topic = NewTopic {
            name: topic.name.clone(),
            partitions: topic.partitions as i32,
            replication_factor: topic.replication_factor as i16,
            configs: topic.config.clone().into_iter().collect(),
        };
        ensure_topic(&client, &topic, until).await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Everything is healed: writers and readers must get on, and everything is read back.
async fn settle(world: &World, plan: &Plan, workloads: Workloads, ended: &mut Ended) {
    let control = world.sim().control();
    let until = Instant::ZERO + plan.run.settle_until().std();
    let within = plan.check.iter().find_map(|check| match check.kind {
        CheckKind::Progress { within } => Some(within.std()),
        _ => None,
    });
    let stuck = progress(&control, &workloads, control.now() + within.unwrap_or(plan.run.settle.std())).await;
    if within.is_some() {
        ended.stuck = stuck;
    }
    workloads.stop_writers.stop();
    for writer in workloads.writers {
        match writer.task.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => ended.unproven = Some(format!("writer {} failed: {error}", writer.name)),
            Err(error) => ended.unproven = Some(format!("writer {}: {error}", writer.name)),
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
    ended.stuck_at = control.now().as_nanos();
    if !ended.stuck.is_empty() {
        ended.stuck.extend(world.obituaries());
    }
    let runtime = world.sim().runtime(world.cast().clients[0]);
    let config =
        workloads::client_config(world, "final-read", Duration::from_secs(5), Duration::from_millis(100));
    // Draining the writers may have taken a part of the settling time; reading back has a minute in any case.
    let until = until.max(control.now() + Duration::from_secs(60));
    let reading = async {
        let client = Client::new(runtime, config)?;
        let reading = FinalReadConfig::new(workloads.next_consumer, world.topology().parts().to_vec(), until);
        final_read(client, world.recorder(), reading).await
    };
    match reading.await {
        Ok(report) => ended.final_read = Some(report),
        Err(error) => ended.unproven = Some(format!("the final read failed: {error}")),
    }
}

/// Waits until each writer was acknowledged something that it wrote after the call, and each reader has read
/// up to what was the end at the time. Gives those that did not by `until`.
async fn progress(control: &SimRuntime, workloads: &Workloads, until: Instant) -> Vec<String> {
    let began = control.now().as_nanos();
    loop {
        let mut stuck: Vec<String> = Vec::new();
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
        if stuck.is_empty() || control.now() >= until {
            return stuck;
        }
        control.sleep(LOOK).await;
    }
}
