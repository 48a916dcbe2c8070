//! A controller that carries out changes of two topics, in one log, and brokers that apply it and lag, as a state
//! machine that writes a history; and corruptions of it, which B14 must find.

use crate::model::{RUN, Rng};
use burnin_checkers::{CheckSet, Verdict};
use burnin_history::{Event, Moment, NodeId, OpId, Outcome, Sink, TopicChange, TopicFound};
use std::collections::BTreeMap;

const CONFIG: &str = "retention.ms";
const BROKERS: usize = 3;
const CLIENTS: usize = 2;

/// A topic, as the controller or a broker has it.
#[derive(Clone, Debug, PartialEq)]
struct Topic {
    id: u128,
    partitions: u32,
    config: Option<String>,
}

type Image = BTreeMap<&'static str, Topic>;

#[derive(Clone, Debug)]
enum Change {
    Create(u32),
    Delete,
    CreatePartitions(u32),
    Set(Option<String>),
}

impl Change {
    fn told(&self) -> TopicChange<'_> {
        match self {
            Change::Create(partitions) => TopicChange::Create { partitions: *partitions, configs: &[] },
            Change::Delete => TopicChange::Delete,
            Change::CreatePartitions(count) => TopicChange::CreatePartitions { count: *count },
            Change::Set(value) => TopicChange::SetConfig { name: CONFIG, value: value.as_deref() },
        }
    }

    /// Carries it out; `None`: refused.
    fn apply(&self, image: &mut Image, name: &'static str, id: u128) -> Option<()> {
        match self {
            Change::Create(partitions) => {
                if image.contains_key(name) {
                    return None;
                }
                image.insert(name, Topic { id, partitions: *partitions, config: None });
            }
            Change::Delete => drop(image.remove(name)?),
            Change::CreatePartitions(count) => {
                let topic = image.get_mut(name).filter(|topic| topic.partitions < *count)?;
                topic.partitions = *count;
            }
            Change::Set(value) => image.get_mut(name)?.config = value.clone(),
        }
        Some(())
    }
}

#[derive(Clone, Debug)]
pub enum Told {
    Invoked(OpId, &'static str, ChangeOf),
    Completed {
        op: OpId,
        outcome: Outcome,
        topic_id: u128,
    },
    Shown {
        node: i32,
        topic: &'static str,
        settled: bool,
        there: Option<(u128, u32)>,
        config: Option<String>,
    },
}

/// What was asked, for a history.
#[derive(Clone, Debug)]
pub struct ChangeOf(Change);

#[derive(Clone, Debug, Default)]
pub struct Topics {
    pub events: Vec<Told>,
}

struct Waiting {
    op: OpId,
    name: &'static str,
    change: Change,
    done: Option<Result<u128, ()>>,
}

/// Carries out `steps` random steps, then everybody catches up and is asked for everything.
pub fn simulate(seed: u64, steps: usize) -> Topics {
    let mut rng = Rng::new(seed);
    let mut told = Topics::default();
    let mut log: Vec<Image> = vec![Image::new()];
    let mut brokers = [0; BROKERS];
    let mut clients: [Option<Waiting>; CLIENTS] = [None, None];
    // Given up by their clients; they may be carried out still.
    let mut late: Vec<Waiting> = Vec::new();
    let (mut next_op, mut next_id) = (0, 100);
    let mut carry_out = |log: &mut Vec<Image>, waiting: &Waiting| {
        next_id += 1;
        let mut image = log.last().expect("never empty").clone();
        let done = waiting.change.apply(&mut image, waiting.name, next_id);
        log.push(image);
        done.map(|()| next_id).ok_or(())
    };
    for _ in 0..steps {
        match rng.below(8) {
            0 | 1 => {
                let client = rng.below(CLIENTS);
                if clients[client].is_none() {
                    next_op += 1;
                    let name = ["orders", "kept"][rng.below(2)];
                    let change = match rng.below(7) {
                        0 | 1 => Change::Create(1 + rng.below(3) as u32),
                        2 => Change::Delete,
                        3 => Change::CreatePartitions(2 + rng.below(6) as u32),
                        4 => Change::Set(None),
                        _ => Change::Set(Some(next_op.to_string())),
                    };
                    let op = OpId(next_op);
                    told.events.push(Told::Invoked(op, name, ChangeOf(change.clone())));
                    clients[client] = Some(Waiting { op, name, change, done: None });
                }
            }
            2 | 3 => {
                if let Some(waiting) = &mut clients[rng.below(CLIENTS)]
                    && waiting.done.is_none()
                {
                    waiting.done = Some(carry_out(&mut log, waiting));
                }
            }
            4 => {
                let client = rng.below(CLIENTS);
                let Some(waiting) = clients[client].take() else { continue };
                let (outcome, topic_id) = match waiting.done {
                    Some(_) | None if rng.one_in(6) => (Outcome::Maybe, 0),
                    Some(Ok(id)) => {
                        let is_create = matches!(waiting.change, Change::Create(_));
                        (Outcome::Applied, if is_create { id } else { 0 })
                    }
                    Some(Err(())) => (Outcome::NotApplied, 0),
                    None => {
                        clients[client] = Some(waiting);
                        continue;
                    }
                };
                told.events.push(Told::Completed { op: waiting.op, outcome, topic_id });
                if waiting.done.is_none() {
                    late.push(waiting);
                }
            }
            5 => {
                if !late.is_empty() {
                    let waiting = late.remove(rng.below(late.len()));
                    let _ = carry_out(&mut log, &waiting);
                }
            }
            6 => {
                let broker = rng.below(BROKERS);
                brokers[broker] += rng.below(log.len() - brokers[broker]);
            }
            _ => {
                let broker = rng.below(BROKERS);
                let name = ["orders", "kept"][rng.below(2)];
                told.shows(broker, name, false, &log[brokers[broker]]);
            }
        }
    }
    for waiting in clients.into_iter().flatten() {
        told.events.push(Told::Completed { op: waiting.op, outcome: Outcome::Maybe, topic_id: 0 });
    }
    for broker in 0..BROKERS {
        for name in ["orders", "kept"] {
            told.shows(broker, name, true, log.last().expect("never empty"));
        }
    }
    told
}

impl Topics {
    fn shows(&mut self, broker: usize, topic: &'static str, settled: bool, image: &Image) {
        let known = image.get(topic);
        let there = known.map(|known| (known.id, known.partitions));
        let config = known.and_then(|known| known.config.clone());
        self.events.push(Told::Shown { node: broker as i32 + 1, topic, settled, there, config });
    }

    pub fn judge(&self) -> Verdict {
        let mut set = CheckSet::new(RUN);
        let mut at: Moment = 0;
        for told in &self.events {
            at += 1000;
            match told {
                Told::Invoked(op, topic, change) => {
                    set.record(at, &Event::TopicChangeInvoked { op: *op, topic, change: change.0.told() });
                }
                Told::Completed { op, outcome, topic_id } => set.record(
                    at,
                    &Event::TopicChangeCompleted {
                        op: *op,
                        outcome: *outcome,
                        topic_id: *topic_id,
                        repeats: false,
                    },
                ),
                Told::Shown { node, topic, settled, there, config } => {
                    let mut shows = |found: TopicFound<'_>| {
                        let (node, invoked, settled) = (NodeId(*node), at, *settled);
                        set.record(at, &Event::TopicDescribed { node, topic, invoked, settled, found });
                    };
                    let Some((topic_id, partitions)) = *there else {
                        shows(TopicFound::Absent);
                        continue;
                    };
                    shows(TopicFound::Topic { topic_id, partitions });
                    shows(TopicFound::Config { name: CONFIG, value: config.as_deref() });
                }
            }
        }
        set.finish(at)
    }
}

type Corruption = fn(&mut Topics, &mut Rng) -> Option<()>;

/// Name, what it does (`None`: nothing to do it to).
pub const KINDS: [(&str, Corruption); 5] = [
    ("a topic is lost in the end", lose),
    ("a topic of an unknown id is there in the end", replace),
    ("partitions go back", shrink),
    ("a setting that nobody made", invent),
    ("a topic has the id of another", reuse),
];

/// What a broker shows in the end: id and partitions, and the setting.
type Settled<'a> = (&'a mut Option<(u128, u32)>, &'a mut Option<String>);

/// The settled answers of one broker for a topic that is there, and whose last changes left no doubt.
fn settled<'a>(told: &'a mut Topics, rng: &mut Rng) -> Option<Settled<'a>> {
    let topic = ["orders", "kept"][rng.below(2)];
    let ops: Vec<OpId> = told
        .events
        .iter()
        .filter_map(|event| match event {
            Told::Invoked(op, name, _) if *name == topic => Some(*op),
            _ => None,
        })
        .collect();
    let is_open = |event: &Told| match event {
        Told::Completed { op, outcome, .. } => *outcome == Outcome::Maybe && ops.contains(op),
        _ => false,
    };
    if told.events.iter().any(is_open) {
        return None;
    }
    told.events.iter_mut().rev().find_map(|event| match event {
        Told::Shown { topic: name, settled: true, there, config, .. }
            if *name == topic && there.is_some() =>
        {
            Some((there, config))
        }
        _ => None,
    })
}

fn lose(told: &mut Topics, rng: &mut Rng) -> Option<()> {
    *settled(told, rng)?.0 = None;
    Some(())
}

fn replace(told: &mut Topics, rng: &mut Rng) -> Option<()> {
    settled(told, rng)?.0.as_mut()?.0 = 9;
    Some(())
}

fn shrink(told: &mut Topics, rng: &mut Rng) -> Option<()> {
    let partitions = &mut settled(told, rng)?.0.as_mut()?.1;
    *partitions = partitions.checked_sub(1)?;
    Some(())
}

fn invent(told: &mut Topics, rng: &mut Rng) -> Option<()> {
    *settled(told, rng)?.1 = Some("nobody".to_owned());
    Some(())
}

fn reuse(told: &mut Topics, rng: &mut Rng) -> Option<()> {
    let ids: Vec<(usize, u128)> = told
        .events
        .iter()
        .enumerate()
        .filter_map(|(at, event)| match event {
            Told::Completed { topic_id, .. } if *topic_id != 0 => Some((at, *topic_id)),
            _ => None,
        })
        .collect();
    if ids.len() < 2 {
        return None;
    }
    let later = 1 + rng.below(ids.len() - 1);
    let Told::Completed { topic_id, .. } = &mut told.events[ids[later].0] else { unreachable!("it is one") };
    *topic_id = ids[0].1;
    Some(())
}
