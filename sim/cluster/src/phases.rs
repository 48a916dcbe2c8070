//! The run from boot to final read, until something ends it.

use crate::world::World;
use burnin_faults::SimFaults;
use burnin_run::{Ended, Injector};
use burnin_scenario::Plan;

/// Runs the whole plan.
pub(crate) async fn run(world: World, plan: Plan) -> Ended {
    let mut ended = Ended::default();
    if let Some(why) = world.unusable() {
        ended.unproven = Some(why.to_owned());
        return ended;
    }
    let stop_early = world.history().lock().stop_early.clone();
    let faults = SimFaults::new(world.sim().clone(), world.cast(), &world, &plan);
    let mut injector = Injector::new(world.sim().control(), &plan, faults);
    let whole = tokio::select! {
        biased;
        () = stop_early.notified() => None,
        whole = burnin_run::phases(world.stage(), &plan, &mut injector, &mut ended) => Some(whole),
    };
    injector.tell(&mut ended);
    match whole {
        None => ended.stopped_early = true,
        Some(Ok(())) => {}
        Some(Err(why)) => ended.unproven = Some(why),
    }
    ended
}
