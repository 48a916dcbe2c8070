//! Faults of processes and machines.
//!
//! Can: kill a broker's process (its page cache survives), cut a machine's power (unsynced data is kept, lost
//! or torn), replace a machine by one with an empty disk, stop a process in order, stop and start it, pause and
//! resume it, stop it and start it as another release; each of several at once.
//! Never: starts a process twice, or hits one that is not there: such a fault waits for it.

use crate::cast::{Broker, Cluster, Stopped};
use burnin_engine::SimHandle;
use burnin_history::FaultEvent;

pub(crate) fn kill<C: Cluster>(sim: &SimHandle, cluster: &C, broker: Broker) -> Result<(), String> {
    sim.kill(broker.node).map_err(|error| error.to_string())?;
    cluster.record(FaultEvent::Killed { node: broker.id });
    Ok(())
}

pub(crate) fn power_loss<C: Cluster>(sim: &SimHandle, cluster: &C, broker: Broker) -> Result<(), String> {
    sim.power_loss(broker.node).map_err(|error| error.to_string())?;
    cluster.record(FaultEvent::PowerLost { node: broker.id });
    Ok(())
}

/// Cuts the power and puts an empty disk in.
pub(crate) fn wipe<C: Cluster>(sim: &SimHandle, cluster: &C, broker: Broker) -> Result<(), String> {
    power_loss(sim, cluster, broker)?;
    sim.wipe_disk(broker.node).map_err(|error| error.to_string())?;
    cluster.record(FaultEvent::Wiped { node: broker.id });
    Ok(())
}

/// Stops in order; a broker that cannot (its disk hangs, say) is killed.
pub(crate) async fn stop<C: Cluster>(cluster: &C, broker: Broker) -> Result<(), String> {
    let event = match cluster.stop(broker).await? {
        Stopped::InOrder => FaultEvent::Stopped { node: broker.id },
        Stopped::Killed => FaultEvent::Killed { node: broker.id },
    };
    cluster.record(event);
    Ok(())
}

pub(crate) fn start<C: Cluster>(cluster: &C, broker: Broker) -> Result<(), String> {
    cluster.record(FaultEvent::Started { node: broker.id });
    cluster.start(broker)
}
