//! The driver of the metadata quorum: one task that feeds `burnin_core::quorum` with messages and time, and carries
//! out what it asks for, strictly in its order.
//!
//! | file | responsible for |
//! |---|---|
//! | `driver.rs` | the task |
//! | `log.rs`, `state.rs`, `snapshots.rs` | the metadata log, the `quorum-state` file, the snapshot files |
//! | `links.rs`, `addresses.rs` | requests to other replicas; where they are |
//! | `voters.rs`, `upkeep.rs` | who votes; what this node asks of the leader about that |
//! | `messages.rs` | the quorum's messages as Kafka's requests and responses |

mod addresses;
mod driver;
mod links;
mod log;
pub(crate) mod messages;
mod snapshots;
mod state;
mod upkeep;
pub(crate) mod voters;

pub(crate) use addresses::{Address, Addresses};
pub(crate) use driver::{Driver, Start};
pub(crate) use log::MetadataLog;
pub(crate) use snapshots::Snapshots;
pub(crate) use voters::VotersView;

use crate::watched::{Watched, Watcher};
use burnin_core::quorum::{
    FetchResponse, Message, ReplicaProgress, SnapshotId, VoterChange, VoterChangeError, VoterSet,
};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

/// The id of the topic of the metadata log (`Uuid.METADATA_TOPIC_ID`).
pub(crate) const METADATA_TOPIC_ID: Uuid = Uuid::from_u128(1);

/// Who leads the quorum, as far as this node knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LeaderView {
    pub(crate) epoch: i32,
    pub(crate) leader: Option<i32>,
}

/// What happens to a replica.
pub(crate) enum Event {
    /// A request of another replica. One that leads says where it is reached.
    Asked {
        from: i32,
        message: Message,
        leader_at: Option<Address>,
        wait_max: Duration,
        answer: oneshot::Sender<Answer>,
    },
    /// An answer of another replica. It may say where the leader is reached.
    Answered { from: i32, message: Message, leader_at: Option<(i32, Address)> },
    /// The controller of this node wants this batch to follow at this offset. Some name other voters.
    Proposed { epoch: i32, base_offset: i64, batch: Bytes, voters: Option<VoterSet> },
    /// Somebody wants other voters.
    ChangeVoters { change: VoterChange, answer: oneshot::Sender<Result<(), VoterChangeError>> },
    /// A snapshot of this node's own image is in place.
    SnapshotTaken(SnapshotId),
    /// The leader's snapshot is in place.
    SnapshotArrived { leader: i32, epoch: i32, id: SnapshotId, voters: Option<VoterSet> },
    /// How far are the replicas?
    Described(oneshot::Sender<Option<Progress>>),
    /// This node stops: somebody else shall lead.
    Resign(oneshot::Sender<()>),
}

/// An answer to a request of another replica.
pub(crate) enum Answer {
    Message(Message),
    /// To a fetch: the response, and the batches that go with it.
    Records {
        response: FetchResponse,
        log_start_offset: i64,
        batches: Vec<Bytes>,
    },
}

/// What the leader knows of the replicas of the metadata log.
pub(crate) struct Progress {
    pub(crate) leader: i32,
    pub(crate) epoch: i32,
    /// -1: none yet.
    pub(crate) high_watermark: i64,
    pub(crate) replicas: Vec<ReplicaProgress>,
}

/// How the rest of the node talks to the driver.
#[derive(Clone)]
pub(crate) struct Quorum {
    events: mpsc::UnboundedSender<Event>,
    leader: Watched<LeaderView>,
    committed: Watched<i64>,
    voters: Watched<VotersView>,
    addresses: Addresses,
    /// What was said of whom already.
    refused: Arc<Mutex<BTreeSet<String>>>,
}

/// So many complaints are remembered, and made once.
const REFUSED_MAX: usize = 1000;

impl Quorum {
    /// Asks the replica of this node on behalf of another one; `None` when it has stopped.
    pub(crate) async fn ask(
        &self,
        from: i32,
        message: Message,
        leader_at: Option<Address>,
        wait_max: Duration,
    ) -> Option<Answer> {
        let (answer, answered) = oneshot::channel();
        self.events.send(Event::Asked { from, message, leader_at, wait_max, answer }).ok()?;
        answered.await.ok()
    }

    /// Changes the voters; see [`burnin_core::quorum::Quorum::change_voters`].
    pub(crate) async fn change_voters(&self, change: VoterChange) -> Result<(), VoterChangeError> {
        let (answer, answered) = oneshot::channel();
        let _ = self.events.send(Event::ChangeVoters { change, answer });
        answered.await.unwrap_or(Err(VoterChangeError::NotLeader))
    }

    /// The voters that count now.
    pub(crate) fn voters(&self) -> VotersView {
        self.voters.get()
    }

    /// Where a replica is reached.
    pub(crate) fn address(&self, id: i32) -> Option<Address> {
        self.addresses.of(id)
    }

    /// Whether a request must be refused, since its sender counts other majorities than this node. That is said aloud
    /// once of each. `theirs`: [`messages::CONFIGURED_VOTERS`].
    pub(crate) fn is_refused(&self, from: i32, theirs: Option<&Bytes>, is_voter: bool) -> bool {
        let why = self.voters.get().contradiction(from, theirs.map(|list| &list[..]), is_voter);
        let Some(why) = why else { return false };
        let mut refused = self.refused.lock();
        if refused.len() < REFUSED_MAX && refused.insert(why.clone()) {
            tracing::error!("{why}: it is refused");
        }
        true
    }

    /// Appends a batch to the log, if this node still leads in `epoch`. If not, the controller is told so.
    pub(crate) fn propose(&self, epoch: i32, base_offset: i64, batch: Bytes) {
        // A driver that has stopped takes the node with it.
        let _ = self.events.send(Event::Proposed { epoch, base_offset, batch, voters: None });
    }

    /// The same for the batch that names other voters.
    pub(crate) fn propose_voters(&self, epoch: i32, base_offset: i64, batch: Bytes, voters: VoterSet) {
        let _ = self.events.send(Event::Proposed { epoch, base_offset, batch, voters: Some(voters) });
    }

    /// What the snapshot covers need not be in the log any more.
    pub(crate) fn snapshot_taken(&self, id: SnapshotId) {
        let _ = self.events.send(Event::SnapshotTaken(id));
    }

    /// How far the replicas are; `None` when this node does not lead.
    pub(crate) async fn describe(&self) -> Option<Progress> {
        let (answer, answered) = oneshot::channel();
        self.events.send(Event::Described(answer)).ok()?;
        answered.await.ok()?
    }

    /// Lets another replica lead.
    pub(crate) async fn resign(&self) {
        let (done, resigned) = oneshot::channel();
        if self.events.send(Event::Resign(done)).is_ok() {
            let _ = resigned.await;
        }
    }

    /// Who leads.
    pub(crate) fn leader(&self) -> LeaderView {
        self.leader.get()
    }

    /// Tells when somebody else leads.
    pub(crate) fn watch_leader(&self) -> Watcher<LeaderView> {
        self.leader.watch()
    }

    /// Tells up to which offset the log is committed.
    pub(crate) fn watch_committed(&self) -> Watcher<i64> {
        self.committed.watch()
    }
}
