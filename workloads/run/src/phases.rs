//! The run from boot to final read.

use crate::injector::{Faults, Injector};
use crate::outcome::Ended;
use crate::settle::settle;
use crate::stage::Stage;
use crate::workloads::Workloads;
use burnin_runtime::Runtime;
use burnin_scenario::Plan;

/// Runs the whole plan. An error says why nothing was proven.
pub async fn phases<R: Runtime, F: Faults>(
    stage: &Stage<R>,
    plan: &Plan,
    injector: &mut Injector<'_, R, F>,
    ended: &mut Ended,
) -> Result<(), String> {
    stage.introduce(plan);
    injector.boot()?;
    let created = stage.create_topics(plan).await;
    let complaints = created.map_err(|why| format!("the topics could not be created: {why}"))?;
    if !complaints.is_empty() {
        ended.stuck = complaints;
        ended.stuck_at = stage.clients[0].now().as_nanos();
        return Ok(());
    }
    let workloads = Workloads::start(stage, plan);
    let workloads = workloads.map_err(|error| format!("a client could not be set up: {error}"))?;
    let began = injector.begin();
    injector.run(began + plan.run.heal_at().std()).await?;
    injector.heal().await?;
    let until = began + plan.run.settle_until().std();
    settle(stage, plan, workloads, until, || injector.faults().obituaries(), ended).await;
    Ok(())
}
