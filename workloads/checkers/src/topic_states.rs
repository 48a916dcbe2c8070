//! Which states a topic may be in, after all that was asked of it and all that was answered: the check of Wing and Gong,
//! as improved by Lowe, for one topic, kept up to date instead of searched for afterwards.
//!
//! An operation that is under way may have taken effect or not; one of which nobody knows what became of it may take
//! effect at any later time, and is taken to do so as often as it likes, which only allows more. An acknowledged one has
//! taken effect between its invocation and its answer: when none of the possible states can follow from that, the
//! acknowledgements contradict each other.

use burnin_history::{OpId, TopicChange, TopicFound};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// Beyond so many possible states nothing is said of a topic any more.
const STATES_MAX: usize = 512;

type Text = Arc<str>;

/// What is asked of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Change {
    Create { partitions: u32, configs: BTreeMap<Text, Text> },
    Delete,
    DeleteId(u128),
    CreatePartitions(u32),
    SetConfig { name: Text, value: Option<Text> },
}

impl Change {
    pub fn of(change: &TopicChange<'_>) -> Change {
        match *change {
            TopicChange::Create { partitions, configs } => {
                let text = |text: &String| Text::from(text.as_str());
                let configs = configs.iter().map(|(name, value)| (text(name), text(value))).collect();
                Change::Create { partitions, configs }
            }
            TopicChange::Delete => Change::Delete,
            TopicChange::DeleteId { topic_id } => Change::DeleteId(topic_id),
            TopicChange::CreatePartitions { count } => Change::CreatePartitions(count),
            TopicChange::SetConfig { name, value } => {
                Change::SetConfig { name: name.into(), value: value.map(Text::from) }
            }
        }
    }
}

/// Which topic of this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Id {
    /// Nobody can say.
    Any,
    /// The one that this operation creates.
    Of(OpId),
    Is(u128),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Topic {
    id: Id,
    partitions: Option<u32>,
    /// Its own settings, as far as they are known; all of them, when it was seen to be created.
    configs: BTreeMap<Text, Option<Text>>,
    was_created: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    /// Nobody told.
    Unknown,
    Absent,
    There(Topic),
}

impl State {
    /// What becomes of it; `None`: it is refused.
    fn after(&self, change: &Change, op: Id) -> Option<State> {
        let unknown = Topic { id: Id::Any, partitions: None, configs: BTreeMap::new(), was_created: false };
        let there = match self {
            State::Unknown => Some(&unknown),
            State::Absent => None,
            State::There(topic) => Some(topic),
        };
        match (change, there) {
            (Change::Create { partitions, configs }, _) => {
                let configs = configs.iter().map(|(name, value)| (name.clone(), Some(value.clone())));
                let created = Topic {
                    id: op,
                    partitions: Some(*partitions),
                    configs: configs.collect(),
                    was_created: true,
                };
                (!matches!(self, State::There(_))).then_some(State::There(created))
            }
            (Change::Delete, Some(_)) => Some(State::Absent),
            (Change::DeleteId(id), Some(topic)) => match topic.id {
                Id::Is(known) if known != *id => None,
                _ => Some(State::Absent),
            },
            (Change::CreatePartitions(count), Some(topic)) => topic
                .partitions
                .is_none_or(|partitions| partitions < *count)
                .then(|| State::There(Topic { partitions: Some(*count), ..topic.clone() })),
            (Change::SetConfig { name, value }, Some(topic)) => {
                let mut topic = topic.clone();
                topic.configs.insert(name.clone(), value.clone());
                Some(State::There(topic))
            }
            (_, None) => None,
        }
    }

    fn shows(&self, found: &TopicFound<'_>) -> bool {
        match (self, *found) {
            (State::Unknown, _) | (State::Absent, TopicFound::Absent) => true,
            (State::There(topic), TopicFound::Topic { topic_id, partitions }) => {
                let is_id = !matches!(topic.id, Id::Is(known) if known != topic_id);
                is_id && topic.partitions.is_none_or(|known| known == partitions)
            }
            (State::There(topic), TopicFound::Config { name, value }) => match topic.configs.get(name) {
                Some(known) => known.as_deref() == value,
                None => !topic.was_created || value.is_none(),
            },
            (State::Absent, _) | (State::There(_), TopicFound::Absent) => false,
        }
    }
}

/// A possible state, and the operations under way that have taken effect in it.
type Possible = (State, BTreeSet<OpId>);

/// See the module.
#[derive(Debug)]
pub(crate) struct TopicStates {
    possible: BTreeSet<Possible>,
    under_way: BTreeMap<OpId, Change>,
    /// What may happen at any time, and who asked for it first.
    open: BTreeMap<Change, OpId>,
    /// Whether there were too many possible states once, so that less is known.
    gave_up: bool,
}

impl TopicStates {
    /// Of a topic of which nothing is known.
    pub fn unknown() -> TopicStates {
        let possible = BTreeSet::from([(State::Unknown, BTreeSet::new())]);
        TopicStates { possible, under_way: BTreeMap::new(), open: BTreeMap::new(), gave_up: false }
    }

    /// Whether it is known to be gone for good: nothing that is asked for can change it.
    pub fn is_over(&self) -> bool {
        let is_absent = self.possible.iter().all(|(state, _)| *state == State::Absent);
        is_absent && self.under_way.is_empty() && self.open.is_empty()
    }

    /// Whether less is known than could be, since there were too many possible states.
    pub fn has_given_up(&self) -> bool {
        self.gave_up
    }

    pub fn invoked(&mut self, op: OpId, change: Change) {
        self.under_way.insert(op, change);
    }

    /// Nobody knows what becomes of it.
    pub fn left_open(&mut self, op: OpId) {
        self.expand();
        let Some(change) = self.under_way.remove(&op) else { return };
        self.open.entry(change).or_insert(op);
        self.forget(op);
    }

    /// It never takes effect.
    pub fn refused(&mut self, op: OpId) {
        self.expand();
        self.under_way.remove(&op);
        self.possible.retain(|(_, done)| !done.contains(&op));
    }

    /// It has taken effect, and created the topic with this id if it was to create one (`None`: nobody told); once more
    /// perhaps, if it `repeats`. `or_not` is whether the answer may be one of who believes an older state to be the
    /// newest, in which there is nothing to change. Returns whether that can be.
    pub fn applied(&mut self, op: OpId, topic_id: Option<u128>, repeats: bool, or_not: bool) -> bool {
        self.expand();
        let Some(change) = self.under_way.remove(&op) else { return true };
        if !or_not {
            self.possible.retain(|(_, done)| done.contains(&op));
        }
        if repeats {
            self.open.entry(change).or_insert(op);
        }
        self.forget(op);
        let id = topic_id.map_or(Id::Any, Id::Is);
        let named = |(mut state, done): Possible| {
            if let State::There(topic) = &mut state
                && topic.id == Id::Of(op)
            {
                topic.id = id;
            }
            (state, done)
        };
        self.possible = std::mem::take(&mut self.possible).into_iter().map(named).collect();
        if self.possible.is_empty() {
            self.possible.insert((State::Unknown, BTreeSet::new()));
            return false;
        }
        true
    }

    /// Whether what was found can be the newest state.
    pub fn admits(&mut self, found: &TopicFound<'_>) -> bool {
        self.expand();
        self.possible.iter().any(|(state, _)| state.shows(found))
    }

    /// Whether there can be a topic of this name at all.
    pub fn may_be_there(&mut self) -> bool {
        self.expand();
        self.possible.iter().any(|(state, _)| *state != State::Absent)
    }

    fn forget(&mut self, op: OpId) {
        let without = |(state, mut done): Possible| {
            done.remove(&op);
            (state, done)
        };
        self.possible = std::mem::take(&mut self.possible).into_iter().map(without).collect();
    }

    /// All that can have happened by now.
    fn expand(&mut self) {
        let mut todo: Vec<Possible> = self.possible.iter().cloned().collect();
        while let Some((state, done)) = todo.pop() {
            let under_way = self.under_way.iter().filter(|(op, _)| !done.contains(op));
            let under_way = under_way.filter_map(|(op, change)| {
                let mut done = done.clone();
                done.insert(*op);
                Some((state.after(change, Id::Of(*op))?, done))
            });
            let open =
                self.open.keys().filter_map(|change| Some((state.after(change, Id::Any)?, done.clone())));
            for next in under_way.chain(open).collect::<Vec<_>>() {
                if self.possible.insert(next.clone()) {
                    todo.push(next);
                }
            }
            if self.possible.len() > STATES_MAX {
                self.possible = BTreeSet::from([(State::Unknown, BTreeSet::new())]);
                self.gave_up = true;
                return;
            }
        }
    }
}

/// The states, for people.
impl fmt::Display for TopicStates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let states: BTreeSet<String> = self.possible.iter().map(|(state, _)| state.to_string()).collect();
        let states: Vec<String> = states.into_iter().take(4).collect();
        f.write_str(&states.join(", or "))
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let State::There(topic) = self else {
            return f.write_str(if *self == State::Absent { "absent" } else { "anything" });
        };
        match topic.id {
            Id::Is(id) => write!(f, "there with id {id:032x}")?,
            _ => f.write_str("there")?,
        }
        if let Some(partitions) = topic.partitions {
            write!(f, ", {partitions} partitions")?;
        }
        for (name, value) in &topic.configs {
            write!(f, ", {name}={}", value.as_deref().unwrap_or("(default)"))?;
        }
        Ok(())
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Create { partitions, .. } => write!(f, "creating it with {partitions} partitions"),
            Change::Delete => f.write_str("deleting it"),
            Change::DeleteId(id) => write!(f, "deleting the one with id {id:032x}"),
            Change::CreatePartitions(count) => write!(f, "raising it to {count} partitions"),
            Change::SetConfig { name, value: Some(value) } => write!(f, "setting {name} to {value}"),
            Change::SetConfig { name, value: None } => write!(f, "putting {name} back to its default"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create() -> Change {
        Change::Create { partitions: 2, configs: BTreeMap::new() }
    }

    fn set(value: &str) -> Change {
        Change::SetConfig { name: "retention.ms".into(), value: Some(value.into()) }
    }

    fn has(value: Option<&'static str>) -> TopicFound<'static> {
        TopicFound::Config { name: "retention.ms", value }
    }

    const THERE: TopicFound<'_> = TopicFound::Topic { topic_id: 7, partitions: 2 };

    /// A topic that was created by operation 0, with id 7.
    fn created() -> TopicStates {
        let mut states = TopicStates::unknown();
        states.invoked(OpId(0), create());
        assert!(states.applied(OpId(0), Some(7), false, false));
        states
    }

    #[test]
    fn topic_cannot_be_created_twice_and_not_be_deleted_in_between() {
        let mut states = created();
        assert!(states.admits(&THERE) && !states.admits(&TopicFound::Absent));
        states.invoked(OpId(1), create());
        assert!(!states.applied(OpId(1), Some(8), false, false));
        let mut states = created();
        states.invoked(OpId(1), Change::Delete);
        states.left_open(OpId(1));
        states.invoked(OpId(2), create());
        assert!(states.applied(OpId(2), Some(8), false, false), "the deletion may have happened");
        assert!(!states.admits(&THERE), "and then the first one is gone");
        assert!(states.admits(&TopicFound::Absent), "it may happen still");
    }

    #[test]
    fn operations_that_overlap_take_effect_in_any_order_and_others_in_theirs() {
        let mut states = created();
        states.invoked(OpId(1), set("1"));
        states.invoked(OpId(2), set("2"));
        assert!(states.applied(OpId(2), None, false, false) && states.applied(OpId(1), None, false, false));
        assert!(
            states.admits(&has(Some("1"))) && states.admits(&has(Some("2"))) && !states.admits(&has(None))
        );
        states.invoked(OpId(3), set("3"));
        assert!(states.admits(&has(Some("3"))), "under way");
        assert!(states.applied(OpId(3), None, false, false));
        assert!(states.admits(&has(Some("3"))) && !states.admits(&has(Some("1"))));
    }

    #[test]
    fn what_repeats_may_come_back_and_what_was_refused_never_happens() {
        let mut states = created();
        states.invoked(OpId(1), set("1"));
        assert!(states.applied(OpId(1), None, true, false));
        states.invoked(OpId(2), set("2"));
        assert!(states.applied(OpId(2), None, false, false));
        assert!(states.admits(&has(Some("1"))) && states.admits(&has(Some("2"))));
        states.invoked(OpId(3), Change::Delete);
        states.refused(OpId(3));
        assert!(!states.admits(&TopicFound::Absent) && states.admits(&THERE));
    }

    #[test]
    fn partitions_only_grow_and_an_id_deletes_only_its_own() {
        let mut states = created();
        states.invoked(OpId(1), Change::DeleteId(9));
        states.left_open(OpId(1));
        assert!(states.admits(&THERE) && !states.admits(&TopicFound::Absent));
        states.invoked(OpId(2), Change::CreatePartitions(3));
        assert!(states.applied(OpId(2), None, false, false));
        assert!(!states.admits(&THERE));
        states.invoked(OpId(3), Change::CreatePartitions(3));
        assert!(!states.applied(OpId(3), None, false, false), "it has three already");
    }

    #[test]
    fn answer_of_who_believes_an_older_state_may_have_changed_nothing() {
        let mut states = created();
        states.invoked(OpId(1), set("1"));
        assert!(states.applied(OpId(1), None, false, false));
        let back = Change::SetConfig { name: "retention.ms".into(), value: None };
        states.invoked(OpId(2), back);
        assert!(states.applied(OpId(2), None, false, true));
        assert!(states.admits(&has(Some("1"))) && states.admits(&has(None)));
    }
}
