//! The controller's task. One request at a time is decided; what is decided is proposed to the quorum and taken for
//! granted by the next decision, and the answer waits until it is committed and applied on this node. When the
//! leadership is lost, all of that is forgotten.

use super::{Asked, Command, Commands, not_controller};
use crate::shared::Shared;
use burnin_core::controller::{Context, Controller, ControllerConfig};
use burnin_core::metadata::{ApiError, Defaults, RecordVersions};
use burnin_core::quorum::VoterSet;
use burnin_runtime::{Entropy, Instant, Mutant, Observation, Runtime, timeout};
use burnin_wire::batch::{BatchBuilder, BatchOptions};
use burnin_wire::control_records::{ControlRecord, control_batch};
use burnin_wire::metadata_records::MetadataRecord;
use burnin_wire::{Api, Request, Response};
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::oneshot;

/// An answer that waits until everything below `offset` is applied.
struct Pending {
    offset: i64,
    response: Response,
    answer: oneshot::Sender<Result<Response, ApiError>>,
}

/// What came too early.
enum Waiting {
    Asked(Asked),
    Voters(VoterSet),
}

/// The controller while it leads.
pub(super) struct Active<R: Runtime> {
    pub(super) shared: Arc<Shared<R>>,
    pub(super) controller: Controller,
    pub(super) entropy: Entropy,
    epoch: i32,
    next_offset: i64,
    pending: VecDeque<Pending>,
}

enum State<R: Runtime> {
    Standby,
    /// What came before this epoch is not applied yet: requests wait.
    Claiming {
        epoch: i32,
        next_offset: i64,
        waiting: Vec<Waiting>,
    },
    Active(Box<Active<R>>),
}

/// See the module.
pub(crate) async fn run<R: Runtime>(shared: Arc<Shared<R>>, mut commands: Commands) {
    let mut state: State<R> = State::Standby;
    let mut applied = shared.applied.watch();
    loop {
        let offset = applied.see();
        state = proceed(&shared, state, offset);
        let deadline = match &state {
            State::Active(active) => active.controller.deadline(),
            _ => Instant::FAR_FUTURE,
        };
        let is_waiting = match &state {
            State::Standby => false,
            State::Claiming { .. } => true,
            State::Active(active) => !active.pending.is_empty(),
        };
        let next = async {
            tokio::select! {
                biased;
                () = applied.changed(), if is_waiting => None,
                command = commands.0.recv() => Some(command),
            }
        };
        let next = if deadline == Instant::FAR_FUTURE {
            next.await
        } else {
            let wait = deadline.since(shared.runtime.now());
            match timeout(&shared.runtime, wait, next).await {
                Some(next) => next,
                None => {
                    if let State::Active(active) = &mut state {
                        active.tick();
                    }
                    continue;
                }
            }
        };
        match next {
            None => {}
            Some(None) => return,
            Some(Some(command)) => state = take(&shared, state, command),
        }
    }
}

/// Goes on with what `offset` was waited for.
fn proceed<R: Runtime>(shared: &Arc<Shared<R>>, state: State<R>, offset: i64) -> State<R> {
    match state {
        State::Claiming { epoch, next_offset, waiting }
            if offset >= next_offset || shared.runtime.mutants().on(Mutant::Q07) =>
        {
            let mut active = Active::new(shared, epoch, next_offset);
            for waiting in waiting {
                match waiting {
                    Waiting::Asked(asked) => active.handle(asked),
                    Waiting::Voters(voters) => active.append_voters(&voters),
                }
            }
            State::Active(Box::new(active))
        }
        State::Active(mut active) => {
            active.answer(offset);
            State::Active(active)
        }
        other => other,
    }
}

fn take<R: Runtime>(shared: &Arc<Shared<R>>, mut state: State<R>, command: Command) -> State<R> {
    match (&mut state, command) {
        (State::Active(active), Command::Asked(asked)) => active.handle(*asked),
        (State::Claiming { waiting, .. }, Command::Asked(asked)) => waiting.push(Waiting::Asked(*asked)),
        (State::Standby, Command::Asked(asked)) => drop(asked.answer.send(Err(not_controller()))),
        (_, Command::Leads { epoch, next_offset }) => {
            forget(state);
            let offset = shared.applied.get();
            return proceed(shared, State::Claiming { epoch, next_offset, waiting: Vec::new() }, offset);
        }
        (State::Active(active), Command::Voters { epoch, voters }) if active.epoch == epoch => {
            active.append_voters(&voters);
        }
        (State::Claiming { epoch: claimed, waiting, .. }, Command::Voters { epoch, voters })
            if *claimed == epoch =>
        {
            waiting.push(Waiting::Voters(voters));
        }
        // Of an epoch that is over.
        (_, Command::Voters { .. }) => {}
        (State::Active(active), Command::Lost { epoch }) if active.epoch > epoch => {}
        (_, Command::Lost { .. }) => {
            forget(state);
            return State::Standby;
        }
    }
    state
}

/// Nobody knows whether what was proposed will be committed.
fn forget<R: Runtime>(state: State<R>) {
    let answers: Vec<_> = match state {
        State::Standby => return,
        State::Claiming { waiting, .. } => waiting
            .into_iter()
            .filter_map(|waiting| match waiting {
                Waiting::Asked(asked) => Some(asked.answer),
                Waiting::Voters(_) => None,
            })
            .collect(),
        State::Active(active) => active.pending.into_iter().map(|pending| pending.answer).collect(),
    };
    answers.into_iter().for_each(|answer| drop(answer.send(Err(not_controller()))));
}

impl<R: Runtime> Active<R> {
    /// Everything before `next_offset` is applied to the image.
    fn new(shared: &Arc<Shared<R>>, epoch: i32, next_offset: i64) -> Active<R> {
        let image = shared.image.read().clone();
        let applied_offset = shared.applied.get();
        let mut active = Active {
            shared: shared.clone(),
            controller: Controller::new(settings(shared), image),
            entropy: shared.runtime.entropy("controller"),
            epoch,
            next_offset,
            pending: VecDeque::new(),
        };
        tracing::info!(epoch, next_offset, "this controller is active");
        shared.runtime.probe().emit(|| Observation::ControllerActive { epoch, applied_offset });
        let records = active.controller.activate(shared.runtime.now());
        active.commit(records);
        active
    }

    pub(super) fn epoch(&self) -> i32 {
        self.epoch
    }

    /// Proposes the record of the quorum that names other voters. This task gives out all offsets of its epoch.
    fn append_voters(&mut self, voters: &VoterSet) {
        let record = ControlRecord::KRaftVoters(voters.to_record());
        let batch = control_batch(self.next_offset, self.epoch, self.shared.runtime.wall_ms(), &[record]);
        self.controller.set_voters(voters.ids().collect());
        self.shared.quorum.propose_voters(self.epoch, self.next_offset, batch, voters.clone());
        self.next_offset += 1;
    }

    /// When and where the next decision is made.
    pub(super) fn context(&self) -> Context {
        Context { now: self.shared.runtime.now(), next_offset: self.next_offset }
    }

    /// Proposes the records of one decision as one batch, and takes them for granted.
    pub(super) fn commit(&mut self, records: Vec<MetadataRecord>) {
        if records.is_empty() {
            return;
        }
        let now_ms = self.shared.runtime.wall_ms();
        let mut builder = BatchBuilder::new(BatchOptions::default());
        let mut versions = RecordVersions::at(self.controller.image().metadata_version());
        for record in &records {
            let value = match record {
                MetadataRecord::PartitionChange(_) if self.shared.runtime.mutants().on(Mutant::U01) => {
                    RecordVersions::at(self.shared.config.release.metadata_version()).encode(record)
                }
                _ => versions.encode(record),
            };
            builder.push(now_ms, None, Some(&value), &[]);
        }
        self.shared.quorum.propose(self.epoch, self.next_offset, builder.build());
        for (offset, record) in (self.next_offset..).zip(&records) {
            let applied = self.controller.apply(offset, record);
            applied.unwrap_or_else(|error| panic!("own metadata record: {error}"));
        }
        self.next_offset += records.len() as i64;
    }

    fn tick(&mut self) {
        let records = self.controller.tick(self.shared.runtime.now());
        self.commit(records);
    }

    fn handle(&mut self, asked: Asked) {
        if let Request::DescribeQuorum(_) = asked.request {
            return super::describe_quorum::describe(self, asked);
        }
        if super::voters::is_about_voters(&asked.request) {
            return super::voters::change(self, asked);
        }
        let Asked { request, version, answer } = asked;
        let changes_topics = matches!(
            request.api(),
            Api::CreateTopics | Api::DeleteTopics | Api::CreatePartitions | Api::IncrementalAlterConfigs
        );
        let response = super::apis::carry_out(self, version, request);
        if changes_topics && self.shared.runtime.mutants().on(Mutant::Q27) {
            return drop(answer.send(Ok(response)));
        }
        // Also an answer without records rests on what was decided before.
        self.pending.push_back(Pending { offset: self.next_offset, response, answer });
        let applied = self.shared.applied.get();
        self.answer(applied);
    }

    /// Sends the answers that rest on nothing beyond `applied`, which counts control records as `next_offset` does.
    fn answer(&mut self, applied: i64) {
        while let Some(pending) = self.pending.pop_front_if(|pending| pending.offset <= applied) {
            // Whoever asked may have gone.
            let _ = pending.answer.send(Ok(pending.response));
        }
    }
}

fn settings<R: Runtime>(shared: &Shared<R>) -> ControllerConfig {
    let config = &shared.config;
    let voters = shared.quorum.voters();
    ControllerConfig {
        node_id: config.node_id,
        cluster_id: shared.identity.cluster_id.to_string(),
        voters: voters.ids(),
        voters_are_configured: voters.are_configured,
        session_timeout: config.quorum.session_timeout,
        defaults: Defaults {
            partitions: config.partitions_default,
            replication_factor: config.replication_factor_default,
        },
        properties: config.properties.clone(),
        rebalance_interval: config.quorum.rebalance_interval,
        unclean_interval: config.quorum.unclean_interval,
        idle_interval: config.quorum.idle_interval,
        features: config.release.features(),
        bootstrap: config.bootstrap_release.bootstrap(),
        mutants: shared.runtime.mutants().clone(),
    }
}
