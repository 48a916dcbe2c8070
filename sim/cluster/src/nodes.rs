//! The simulated machines: addresses, configurations and disks.

use burnin_engine::DiskModel;
use burnin_run::{Listener, Machine};
use burnin_scenario::{Plan, Release};
use burnin_server::{BrokerConfig, InitialVoters};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

/// Where brokers listen for clients and for each other.
pub(crate) const PORT: u16 = 9092;
/// Where controllers listen.
const CONTROLLER_PORT: u16 = 9093;

/// A machine's address.
pub(crate) fn ip(machine: &Machine) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, if machine.broker { 0 } else { 2 }, machine.id.0 as u8)
}

fn at(machine: &Machine, listener: Listener) -> SocketAddr {
    let port = match listener {
        Listener::Broker => PORT,
        Listener::Controller => CONTROLLER_PORT,
    };
    SocketAddr::from((ip(machine), port))
}

/// A machine's configuration, but for its release.
pub(crate) fn config(plan: &Plan, machine: &Machine) -> Result<BrokerConfig, String> {
    let properties = burnin_run::properties(plan, machine, &burnin_run::machines(plan), at, "/data");
    let config =
        BrokerConfig::from_properties(&properties).map_err(|error| format!("{}: {error}", machine.name))?;
    // As an operator formats the nodes of a cluster whose oldest ones must be able to follow.
    let oldest = plan.topology.releases.iter().min().copied().unwrap_or(LATEST);
    Ok(BrokerConfig { bootstrap_release: of_broker(oldest)?, ..config })
}

const LATEST: Release = Release::ALL[Release::ALL.len() - 1];

/// The releases of a plan's machines in the beginning, by `node.id`.
pub(crate) fn releases(plan: &Plan) -> BTreeMap<i32, Release> {
    let machines = burnin_run::machines(plan).into_iter().enumerate();
    let release = |at: usize| plan.topology.releases.get(at).copied().unwrap_or(LATEST);
    machines.map(|(at, machine)| (machine.id.0, release(at))).collect()
}

/// The release as the broker has it.
pub(crate) fn of_broker(release: Release) -> Result<burnin_server::Release, String> {
    release.name().parse()
}

/// Who votes in the beginning.
pub(crate) fn initial_voters(plan: &Plan) -> Result<InitialVoters, String> {
    let voters = burnin_run::initial_controllers(plan, &burnin_run::machines(plan), at);
    if voters.is_empty() {
        return Ok(InitialVoters::Configured);
    }
    let voters: Result<Vec<_>, String> = voters.iter().map(|voter| voter.parse()).collect();
    Ok(InitialVoters::Controllers(voters?))
}

/// The disk of every machine.
pub(crate) fn disk_model(plan: &Plan) -> DiskModel {
    let latency = crate::world::latency;
    DiskModel {
        write: latency(plan.disk.write),
        read: latency(plan.disk.read),
        sync: latency(plan.disk.fsync),
        capacity: Some(plan.disk.capacity.0),
        ..DiskModel::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenarios_and_brokers_know_the_same_releases() {
        let names: Vec<_> = Release::ALL.iter().map(|release| release.name()).collect();
        assert_eq!(names, burnin_server::Release::ALL.map(|release| release.name()));
        assert_eq!(of_broker(LATEST), Ok(burnin_server::Release::LATEST));
    }
}
