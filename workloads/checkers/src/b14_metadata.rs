//! B14, metadata: topics and their settings are what was acknowledged, in the end on every broker. What brokers are
//! asked and what they answer is all that is looked at.
//!
//! What Kafka promises, and so what is asked for: a change (CreateTopics, DeleteTopics, CreatePartitions,
//! IncrementalAlterConfigs) is acknowledged when its record is committed, so changes of one topic are linearizable, in an
//! order that all brokers share. A broker answers questions by the metadata that it has applied, as of *one* offset, which
//! may be old and only grows: also over a restart, since it serves nobody before it has applied its own registration.
//! Nothing is promised about how far two brokers are at the same moment.
//!
//! * `not-linearizable`: acknowledgements that contradict each other: a topic created twice and not deleted in between, ...
//! * `lost-change`: a broker that has applied all that was acknowledged (it shows a topic that was created after it) shows
//!   something else.
//! * `resurrected-topic`: a topic that was deleted is there, either then, or on a broker that had shown that it is gone.
//! * `went-back`: a broker shows fewer partitions of a topic than before, or a setting that it had shown to be replaced.
//! * `topic-id-reused`: one id for two topics.
//! * `never-asked`: a number of partitions, or a setting, that nobody has asked for.
//!
//! What is not one: a broker that lags; a change whose outcome nobody knows, which may take effect at any later time, or a
//! second time when the call took several attempts; a change that an old controller finds made already, and acknowledges
//! though a newer one has unmade it (`or_not`): Kafka answers without a commit when there is nothing to write.

use crate::checker::{Checker, Class, Described, Findings, Property};
use crate::facts::Facts;
use crate::topic_states::{Change, TopicStates};
use crate::words::At;
use burnin_history::{Event, Moment, NodeId, OpId, Outcome, TopicFound};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// So many topics are remembered besides those that may be there, and so many changes of each.
const TOPICS_MAX: usize = 1024;
const CHANGES_MAX: usize = 256;

type Text = Arc<str>;

/// A change that was asked for.
#[derive(Debug)]
struct Asked {
    op: OpId,
    change: Change,
    invoked: Moment,
    /// When it was acknowledged and nothing is left of it that could happen later.
    over: Option<Moment>,
    /// The ids of this name that were known when it was asked for: topics that are older than what it creates.
    known: BTreeSet<u128>,
}

/// What a broker has shown of a topic.
#[derive(Debug, Default)]
struct Shown {
    at: Moment,
    /// Id and partitions.
    there: Option<(u128, u32)>,
    /// Topics of this name that are gone for this broker.
    gone: BTreeSet<u128>,
    /// Settings, and when they were shown.
    configs: BTreeMap<Text, (Option<Text>, Moment)>,
}

#[derive(Debug)]
struct Topic {
    states: TopicStates,
    /// The last ones, oldest first; `forgot` is whether there were others.
    asked: VecDeque<Asked>,
    forgot: bool,
    /// Whether its creation was asked for in this history, so that all that it can hold is known.
    was_created: bool,
    /// Ids that were seen, each with those that were there before it.
    ids: BTreeMap<u128, BTreeSet<u128>>,
    /// Those that an acknowledgement has named as new.
    new: BTreeSet<u128>,
    shown: BTreeMap<NodeId, Shown>,
    /// The last acknowledgement.
    last: Option<(Text, Moment)>,
}

impl Topic {
    fn new() -> Topic {
        Topic {
            states: TopicStates::unknown(),
            asked: VecDeque::new(),
            forgot: false,
            was_created: false,
            ids: BTreeMap::new(),
            new: BTreeSet::new(),
            shown: BTreeMap::new(),
            last: None,
        }
    }

    /// The changes that set `name` to `value`; those that create the topic set everything.
    fn setters<'a>(&'a self, name: &'a str, value: Option<&'a str>) -> impl Iterator<Item = &'a Asked> {
        self.asked.iter().filter(move |asked| match &asked.change {
            Change::SetConfig { name: known, value: set } => **known == *name && set.as_deref() == value,
            Change::Create { configs, .. } => configs.get(name).map(|known| &**known) == value,
            _ => false,
        })
    }

    /// Whether `op` sets a config to what it may have been before.
    fn may_change_nothing(&self, op: OpId) -> bool {
        let Some(asked) = self.asked.iter().find(|asked| asked.op == op) else { return true };
        let Change::SetConfig { name, value } = &asked.change else { return false };
        let is_new = self.was_created && !self.forgot;
        !is_new || self.setters(name, value.as_deref()).any(|other| other.op < op)
    }

    /// Whether whatever set `old` was over before anything set `new`, and neither the topic nor anything else came in
    /// between that could bring `old` back.
    fn is_older(&self, name: &str, old: Option<&str>, new: Option<&str>) -> bool {
        if !self.was_created || self.forgot {
            return false;
        }
        let Some(set_new) = self.setters(name, new).map(|asked| asked.invoked).min() else { return false };
        let mut setters = self.setters(name, old).peekable();
        let deletes = |asked: &Asked| matches!(asked.change, Change::Delete | Change::DeleteId(_));
        setters.peek().is_some()
            && setters.all(|asked| asked.over.is_some_and(|over| over < set_new))
            && !self.asked.iter().any(deletes)
    }
}

/// See the module.
#[derive(Debug)]
pub struct TopicMetadata {
    findings: Findings,
    topics: BTreeMap<Text, Topic>,
    /// Operations under way, and their topics.
    ops: BTreeMap<OpId, Text>,
    /// The name that an id was seen with.
    names: BTreeMap<u128, Text>,
}

impl Default for TopicMetadata {
    fn default() -> Self {
        TopicMetadata {
            findings: Findings::new("B14", Class::Safety),
            topics: BTreeMap::new(),
            ops: BTreeMap::new(),
            names: BTreeMap::new(),
        }
    }
}

impl Checker for TopicMetadata {
    fn property(&self) -> &'static Property {
        &Property {
            id: "B14",
            seen_outside: &[
                "not-linearizable",
                "lost-change",
                "resurrected-topic",
                "went-back",
                "topic-id-reused",
                "never-asked",
            ],
            seen_inside: &[],
        }
    }

    fn see(&mut self, _facts: &Facts, at: Moment, event: &Event<'_>) {
        match event {
            Event::TopicChangeInvoked { op, topic, change } => {
                let change = Change::of(change);
                let name = self.topic(topic);
                self.ops.insert(*op, name.clone());
                let topic = self.topics.get_mut(&name).expect("just looked up");
                topic.was_created |= topic.asked.is_empty() && matches!(change, Change::Create { .. });
                topic.states.invoked(*op, change.clone());
                let known = topic.ids.keys().copied().collect();
                topic.asked.push_back(Asked { op: *op, change, invoked: at, over: None, known });
                if topic.asked.len() > CHANGES_MAX {
                    topic.asked.pop_front();
                    topic.forgot = true;
                }
            }
            Event::TopicChangeCompleted { op, outcome, topic_id, repeats } => {
                let Some(name) = self.ops.remove(op) else { return };
                self.completed(at, *op, name, *outcome, *topic_id, *repeats);
            }
            Event::TopicDescribed { node, topic, invoked, settled, found } => {
                let name = self.topic(topic);
                self.described(
                    at,
                    name,
                    Question { node: *node, invoked: *invoked, settled: *settled },
                    found,
                );
            }
            _ => {}
        }
    }

    fn finish(&mut self, _facts: &Facts, _at: Moment) {
        for (name, topic) in &self.topics {
            if topic.states.has_given_up() {
                self.findings.skipped(format!("B14: topic {name} has too many possible states"));
            }
        }
    }

    fn findings(&self) -> &Findings {
        &self.findings
    }
}

/// Who was asked, when, and whether it had applied all that was acknowledged.
#[derive(Clone, Copy)]
struct Question {
    node: NodeId,
    invoked: Moment,
    settled: bool,
}

impl TopicMetadata {
    /// The topic of this name, which is there from now on.
    fn topic(&mut self, name: &str) -> Text {
        if let Some((known, _)) = self.topics.get_key_value(name) {
            return known.clone();
        }
        if self.topics.len() >= TOPICS_MAX {
            // Names are given once: whoever is gone need not be remembered for long.
            let over = self.topics.iter().find(|(_, topic)| topic.states.is_over());
            if let Some(name) = over.map(|(name, _)| name.clone()) {
                self.topics.remove(&name);
                self.names.retain(|_, known| *known != name);
            }
        }
        let name = Text::from(name);
        self.topics.insert(name.clone(), Topic::new());
        name
    }

    fn report(&mut self, at: Moment, anomaly: &'static str, message: String) {
        self.findings.report(at, anomaly, 1, None, || Described { message, ..Described::default() });
    }

    fn completed(&mut self, at: Moment, op: OpId, name: Text, outcome: Outcome, id: u128, repeats: bool) {
        let Some(topic) = self.topics.get_mut(&name) else { return };
        let or_not = topic.may_change_nothing(op);
        match outcome {
            Outcome::NotApplied => return topic.states.refused(op),
            Outcome::Maybe => return topic.states.left_open(op),
            Outcome::Applied => {}
        }
        self.findings.checked(1);
        let id = Some(id).filter(|id| *id != 0);
        let can_be = topic.states.applied(op, id, repeats, or_not);
        let Some(asked) = topic.asked.iter_mut().find(|asked| asked.op == op) else { return };
        asked.over = (!repeats).then_some(at);
        let (words, invoked, known) =
            (Text::from(asked.change.to_string()), asked.invoked, asked.known.clone());
        let before = topic.last.replace((words.clone(), at));
        if !can_be {
            let before = before.map_or("nothing was acknowledged before".to_owned(), |(words, at)| {
                format!("the last that was acknowledged before is {words}, at {}", At(at))
            });
            let message = format!(
                "topic {name}: {words} was asked for at {} and acknowledged at {}, which cannot follow from what was \
                 acknowledged: {before}.",
                At(invoked),
                At(at)
            );
            self.report(at, "not-linearizable", message);
        }
        if let Some(id) = id {
            self.created(at, &name, id, known, &words);
        }
    }

    /// An acknowledgement names the id of a new topic; `known` are those of older ones.
    fn created(&mut self, at: Moment, name: &Text, id: u128, known: BTreeSet<u128>, words: &str) {
        let topic = self.topics.get_mut(name).expect("it was changed");
        if known.contains(&id) || !topic.new.insert(id) {
            let message = format!(
                "topic {name}: {words} was acknowledged at {} with id {id:032x}, which an earlier topic of that name had.",
                At(at)
            );
            return self.report(at, "topic-id-reused", message);
        }
        topic.ids.entry(id).or_default().extend(known);
        self.belongs(at, name, id, words);
    }

    /// `id` is that of topic `name`.
    fn belongs(&mut self, at: Moment, name: &Text, id: u128, words: &str) {
        if id == 0 {
            return;
        }
        let known = self.names.entry(id).or_insert_with(|| name.clone()).clone();
        if known != *name {
            let message =
                format!("topic {name} has id {id:032x} ({words}, {}), which topic {known} had.", At(at));
            self.report(at, "topic-id-reused", message);
        }
    }

    fn described(&mut self, at: Moment, name: Text, asked: Question, found: &TopicFound<'_>) {
        self.findings.checked(1);
        let words = words(found);
        if let TopicFound::Topic { topic_id, .. } = found {
            self.belongs(at, &name, *topic_id, &words);
        }
        let node = asked.node;
        let topic = self.topics.get_mut(&name).expect("just looked up");
        let unasked = match found {
            _ if !topic.was_created || topic.forgot => false,
            TopicFound::Absent => false,
            TopicFound::Topic { partitions, .. } => !topic.asked.iter().any(|asked| match &asked.change {
                Change::Create { partitions: asked, .. } | Change::CreatePartitions(asked) => {
                    asked == partitions
                }
                _ => false,
            }),
            TopicFound::Config { name, value } => topic.setters(name, *value).next().is_none(),
        };
        if unasked {
            let message =
                format!("topic {name}: broker {node} shows {words} at {}, which nobody asked for.", At(at));
            return self.report(at, "never-asked", message);
        }
        if let Some((anomaly, before, since)) = topic.step(at, asked, found) {
            let message = format!(
                "topic {name}: broker {node} shows {words} at {}, though it had shown {before} at {}.",
                At(at),
                At(since)
            );
            return self.report(at, anomaly, message);
        }
        if !asked.settled || topic.states.admits(found) {
            return;
        }
        let gone = |id: &u128| topic.ids.values().any(|before| before.contains(id));
        let is_back = match found {
            TopicFound::Topic { topic_id, .. } => gone(topic_id) || !topic.states.may_be_there(),
            TopicFound::Config { .. } | TopicFound::Absent => false,
        };
        let last = topic.last.as_ref().map_or("nothing was acknowledged".to_owned(), |(words, at)| {
            format!("the last that was acknowledged is {words}, at {}", At(*at))
        });
        let message = format!(
            "topic {name}: broker {node}, which had applied all that was acknowledged, shows {words} at {}, where it can \
             only be {}; {last}.",
            At(at),
            topic.states
        );
        self.report(at, if is_back { "resurrected-topic" } else { "lost-change" }, message);
    }
}

impl Topic {
    /// A broker goes on from what it has shown: the anomaly, what it had shown, and when.
    fn step(
        &mut self,
        at: Moment,
        asked: Question,
        found: &TopicFound<'_>,
    ) -> Option<(&'static str, String, Moment)> {
        let mut shown = self.shown.remove(&asked.node).unwrap_or_default();
        // Of answers that were on their way at the same time nobody knows which is older.
        if shown.at > asked.invoked {
            self.shown.insert(asked.node, shown);
            return None;
        }
        let since = shown.at;
        let wrong = match (*found, shown.there) {
            (TopicFound::Absent, before) => {
                shown.gone.extend(before.map(|(id, _)| id));
                (shown.there, shown.configs) = (None, BTreeMap::new());
                None
            }
            (TopicFound::Topic { topic_id, partitions }, before) => {
                let has_moved = before.filter(|(known, _)| *known != topic_id);
                shown.gone.extend(has_moved.map(|(id, _)| id));
                let older = self.ids.entry(topic_id).or_default();
                older.extend(shown.gone.iter().copied().filter(|gone| *gone != topic_id));
                let is_older = has_moved.is_some_and(|(known, _)| {
                    self.ids.get(&known).is_some_and(|before| before.contains(&topic_id))
                });
                let wrong = match before {
                    _ if shown.gone.contains(&topic_id) || is_older => {
                        let before = before.map_or("that it is gone".to_owned(), |(id, _)| {
                            format!("a later one, with id {id:032x},")
                        });
                        Some(("resurrected-topic", before))
                    }
                    Some((known, more)) if known == topic_id && more > partitions => {
                        Some(("went-back", format!("{more} partitions of it")))
                    }
                    _ => None,
                };
                if has_moved.is_some() || before.is_none() {
                    shown.configs.clear();
                }
                shown.there = Some((topic_id, partitions));
                wrong
            }
            (TopicFound::Config { name, value }, _) => {
                let before = shown.configs.insert(name.into(), (value.map(Text::from), at));
                let before = before.filter(|(before, _)| self.is_older(name, value, before.as_deref()));
                before.map(|(before, _)| ("went-back", format!("{name}={}", or_default(before.as_deref()))))
            }
        };
        shown.at = at;
        self.shown.insert(asked.node, shown);
        wrong.map(|(anomaly, before)| (anomaly, before, since))
    }
}

fn or_default(value: Option<&str>) -> &str {
    value.unwrap_or("(default)")
}

fn words(found: &TopicFound<'_>) -> String {
    match found {
        TopicFound::Absent => "no topic of that name".to_owned(),
        TopicFound::Topic { topic_id, partitions } => {
            format!("a topic with id {topic_id:032x} and {partitions} partitions")
        }
        TopicFound::Config { name, value } => format!("{name}={}", or_default(*value)),
    }
}
