//! Heartbeats: brokers say that they live and what they want, and learn what they are
//! (`BrokerHeartbeatManager.calculateNextBrokerState`).
//!
//! ```text
//!            caught up with its registration              wants to stop, leads something
//!   fenced ---------------------------------> unfenced ---------------------------------> shutting down
//!     ^  ^         wants to be fenced,           |                                             |
//!     |  +---- or its session is over -----------+                                             |
//!     +------------- wants to stop, leads nothing; others have seen that (should shut down) ---+
//! ```

use super::sessions::Session;
use super::{Cluster, Context, Controller, Decision};
use crate::metadata::ApiError;
use burnin_wire::metadata_records::MetadataRecord;

/// A heartbeat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heartbeat {
    /// Who sends it.
    pub broker_id: i32,
    /// Under which registration.
    pub broker_epoch: i64,
    /// The offset of the last metadata record that it has applied.
    pub metadata_offset: i64,
    /// It wants to be fenced.
    pub want_fence: bool,
    /// It wants to stop.
    pub want_shut_down: bool,
}

/// What the broker is from now on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeartbeatAnswer {
    /// It has applied its own registration.
    pub is_caught_up: bool,
    /// It may not lead.
    pub is_fenced: bool,
    /// It may stop now.
    pub should_shut_down: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Fenced,
    Unfenced,
    ShuttingDown,
    /// Fenced, and told to stop.
    ShutDown,
}

impl Controller {
    /// BrokerHeartbeat. Errors: STALE_BROKER_EPOCH for another registration than the current one.
    pub fn heartbeat(
        &mut self,
        request: &Heartbeat,
        context: Context,
    ) -> Result<Decision<HeartbeatAnswer>, ApiError> {
        let (cluster, active) = self.parts()?;
        let broker = cluster.check_epoch(request.broker_id, request.broker_epoch)?;
        let state = match (broker.fenced, broker.in_controlled_shutdown) {
            (true, _) => State::Fenced,
            (false, true) => State::ShuttingDown,
            (false, false) => State::Unfenced,
        };
        let session = active.sessions.touch(request.broker_id, broker.epoch, context.now);
        session.metadata_offset = request.metadata_offset;
        let shutdown_offset = session.shutdown_offset;
        let others_know = || {
            let lowest = active.sessions.lowest_active_offset(cluster.image);
            shutdown_offset.is_some_and(|offset| offset <= lowest)
        };
        let next = cluster.next_state(state, request, others_know);
        let records = cluster.transition(state, next, request.broker_id);
        let end_offset = context.next_offset + records.len() as i64;
        settle(active.sessions.touch(request.broker_id, broker.epoch, context.now), state, next, end_offset);
        let answer = HeartbeatAnswer {
            is_caught_up: is_caught_up(request),
            is_fenced: matches!(next, State::Fenced | State::ShutDown),
            should_shut_down: next == State::ShutDown,
        };
        Ok(Decision::new(answer, records))
    }
}

/// The epoch of a registration is its offset.
fn is_caught_up(request: &Heartbeat) -> bool {
    request.metadata_offset >= request.broker_epoch
}

/// `end_offset`: one past the records of the transition.
fn settle(session: &mut Session, state: State, next: State, end_offset: i64) {
    session.released = next == State::ShutDown;
    match next {
        // Others must have seen that it leads nothing any more. After a failover it is not known when that was
        // written: whatever is in the log by now will do.
        State::ShuttingDown if state != next || session.shutdown_offset.is_none() => {
            session.shutdown_offset = Some(end_offset - 1);
        }
        State::ShuttingDown => {}
        _ => session.shutdown_offset = None,
    }
}

impl Cluster<'_> {
    /// `others_know`: every other broker has applied what made this one lead nothing.
    fn next_state(&self, state: State, request: &Heartbeat, others_know: impl FnOnce() -> bool) -> State {
        let leads_any = || self.leads_any(request.broker_id);
        match state {
            State::Fenced if request.want_shut_down => State::ShutDown,
            State::Fenced if !request.want_fence && is_caught_up(request) => State::Unfenced,
            State::Unfenced if request.want_fence && request.want_shut_down => State::ShutDown,
            State::Unfenced if request.want_fence => State::Fenced,
            State::Unfenced if request.want_shut_down && leads_any() => State::ShuttingDown,
            State::Unfenced if request.want_shut_down => State::ShutDown,
            State::ShuttingDown if !leads_any() && others_know() => State::ShutDown,
            unchanged => unchanged,
        }
    }

    fn transition(&self, state: State, next: State, broker: i32) -> Vec<MetadataRecord> {
        match (state, next) {
            (from, to) if from == to => Vec::new(),
            (State::Fenced, State::ShutDown) => Vec::new(),
            (_, State::Fenced | State::ShutDown) => self.fence(broker),
            (_, State::Unfenced) => self.unfence(broker),
            (_, State::ShuttingDown) => self.begin_shutdown(broker),
        }
    }
}
