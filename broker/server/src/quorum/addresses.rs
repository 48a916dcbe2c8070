//! Where replicas of the quorum are reached: as configured, or as the voters' own records and the leader say.

use super::voters::VotersView;
use burnin_core::config::BrokerConfig;
use burnin_wire::control_records::VoterEndpoint;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Host and port.
pub(crate) type Address = (String, u16);

/// See the module. Clones are the same addresses.
#[derive(Clone)]
pub(crate) struct Addresses(Arc<Mutex<State>>);

struct State {
    me: i32,
    /// The listener that replicas use between themselves.
    listener: String,
    /// `controller.quorum.voters`; they count until the log names voters.
    configured: BTreeMap<i32, Address>,
    voters: BTreeMap<i32, Address>,
    /// What the leader says of itself is newer than what the log says of it.
    leader: Option<(i32, Address)>,
    bootstrap: Vec<Address>,
}

impl Addresses {
    /// `own`: this node's.
    pub(crate) fn new(config: &BrokerConfig, own: &[VoterEndpoint]) -> Addresses {
        let configured = config.voters.iter().map(|voter| (voter.id, (voter.host.clone(), voter.port)));
        let listener = config.controller_listener_names.first().cloned().unwrap_or_default();
        let mut voters = BTreeMap::new();
        voters.extend(chosen(&listener, own).map(|address| (config.node_id, address)));
        Addresses(Arc::new(Mutex::new(State {
            me: config.node_id,
            listener,
            configured: configured.collect(),
            voters,
            leader: None,
            bootstrap: config.bootstrap_servers.clone(),
        })))
    }

    /// Where a replica is reached.
    pub(crate) fn of(&self, id: i32) -> Option<Address> {
        let state = self.0.lock();
        let told = state.leader.as_ref().filter(|(leader, _)| *leader == id).map(|(_, address)| address);
        state.configured.get(&id).or(told).or_else(|| state.voters.get(&id)).cloned()
    }

    /// Where the leader says that it is reached.
    pub(super) fn learn(&self, leader: i32, address: Address) {
        self.0.lock().leader = Some((leader, address));
    }

    /// Others vote now, or elsewhere.
    pub(super) fn set_voters(&self, view: &VotersView) {
        if view.are_configured {
            return;
        }
        let mut state = self.0.lock();
        let state = &mut *state;
        state.configured.clear();
        let own = state.voters.remove(&state.me);
        let known = view
            .voters
            .ids()
            .filter_map(|id| chosen(&state.listener, view.voters.endpoints(id)).map(|address| (id, address)));
        let mut voters: BTreeMap<i32, Address> = known.collect();
        voters.extend(own.map(|address| (state.me, address)));
        let is_news = |(id, _): &(i32, Address)| {
            voters.get(id).is_some_and(|address| state.voters.get(id).is_some_and(|old| old != address))
        };
        if state.leader.as_ref().is_some_and(is_news) {
            state.leader = None;
        }
        state.voters = voters;
    }

    /// Everybody who may know the leader, in turn. Without an id: a bootstrap server.
    pub(super) fn anybody(&self, turn: usize) -> Option<(Option<i32>, Address)> {
        let state = self.0.lock();
        let servers = state.bootstrap.iter().map(|address| (None, address));
        let voters = state.configured.iter().chain(&state.voters).filter(|(id, _)| **id != state.me);
        let voters = voters.map(|(id, address)| (Some(*id), address));
        let all: Vec<_> = servers.chain(voters).collect();
        let (id, address) = all.get(turn % all.len().max(1))?;
        Some((*id, (*address).clone()))
    }
}

/// The address under which a replica serves the others.
fn chosen(listener: &str, endpoints: &[VoterEndpoint]) -> Option<Address> {
    let named = endpoints.iter().find(|endpoint| endpoint.name.eq_ignore_ascii_case(listener));
    named.or(endpoints.first()).map(|endpoint| (endpoint.host.clone(), endpoint.port))
}
