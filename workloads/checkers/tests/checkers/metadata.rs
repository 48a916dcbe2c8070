//! B14: topics that come and go, and what brokers show of them.

use crate::story::Story;
use burnin_history::{Event, Moment, NodeId, OpId, Outcome, TopicChange, TopicFound};

const B14: &str = "B14";
const CREATE: TopicChange<'_> = TopicChange::Create { partitions: 2, configs: &[] };
const GONE: TopicFound<'_> = TopicFound::Absent;

fn there(topic_id: u128, partitions: u32) -> TopicFound<'static> {
    TopicFound::Topic { topic_id, partitions }
}

fn set(value: &str) -> TopicChange<'_> {
    TopicChange::SetConfig { name: "retention.ms", value: Some(value) }
}

fn has(value: &str) -> TopicFound<'_> {
    TopicFound::Config { name: "retention.ms", value: Some(value) }
}

struct Topics {
    story: Story,
    next: u64,
}

impl Topics {
    /// Topic `t` was created with id 7.
    fn new() -> Topics {
        let mut topics = Topics { story: Story::flushed(), next: 100 };
        topics.acked("t", CREATE, 7);
        topics
    }

    fn ask(&mut self, topic: &str, change: TopicChange<'_>) -> OpId {
        self.next += 1;
        let op = OpId(self.next);
        self.story.event(&Event::TopicChangeInvoked { op, topic, change });
        op
    }

    fn ended(&mut self, op: OpId, outcome: Outcome, topic_id: u128, repeats: bool) {
        self.story.event(&Event::TopicChangeCompleted { op, outcome, topic_id, repeats });
    }

    fn acked(&mut self, topic: &str, change: TopicChange<'_>, id: u128) {
        let op = self.ask(topic, change);
        self.ended(op, Outcome::Applied, id, false);
    }

    fn maybe(&mut self, topic: &str, change: TopicChange<'_>) {
        let op = self.ask(topic, change);
        self.ended(op, Outcome::Maybe, 0, true);
    }

    fn told(&mut self, node: i32, topic: &str, invoked: Moment, settled: bool, found: TopicFound<'_>) {
        self.story.event(&Event::TopicDescribed { node: NodeId(node), topic, invoked, settled, found });
    }

    fn shows(&mut self, node: i32, found: TopicFound<'_>) {
        let now = self.story.now;
        self.told(node, "t", now, false, found);
    }

    fn in_the_end(&mut self, node: i32, found: TopicFound<'_>) {
        let now = self.story.now;
        self.told(node, "t", now, true, found);
    }

    #[track_caller]
    fn expect(mut self, anomaly: &str) {
        self.story.expect(B14, anomaly, 1);
    }

    /// Of B14 alone: nobody writes records here.
    #[track_caller]
    fn silent(mut self) {
        let verdict = self.story.verdict();
        assert!(verdict.violations.is_empty(), "{:#?}", verdict.violations);
    }
}

#[test]
fn acknowledgements_that_contradict_each_other() {
    let mut twice = Topics::new();
    twice.acked("t", CREATE, 8);
    twice.expect("not-linearizable");
    let mut gone = Topics::new();
    gone.acked("t", TopicChange::Delete, 0);
    gone.acked("t", TopicChange::CreatePartitions { count: 4 }, 0);
    gone.expect("not-linearizable");
    let mut fewer = Topics::new();
    fewer.acked("t", TopicChange::CreatePartitions { count: 4 }, 0);
    fewer.acked("t", TopicChange::CreatePartitions { count: 3 }, 0);
    fewer.expect("not-linearizable");
}

#[test]
fn acknowledged_change_that_is_not_there_in_the_end() {
    let mut absent = Topics::new();
    absent.in_the_end(1, GONE);
    absent.expect("lost-change");
    let mut partitions = Topics::new();
    partitions.acked("t", TopicChange::CreatePartitions { count: 4 }, 0);
    partitions.in_the_end(1, there(7, 2));
    partitions.expect("lost-change");
    let mut config = Topics::new();
    config.acked("t", set("1"), 0);
    config.in_the_end(1, TopicFound::Config { name: "retention.ms", value: None });
    config.expect("lost-change");
    let mut older = Topics::new();
    older.acked("t", set("1"), 0);
    older.acked("t", set("2"), 0);
    older.in_the_end(3, has("1"));
    older.expect("lost-change");
}

#[test]
fn deleted_topic_that_comes_back() {
    let mut in_the_end = Topics::new();
    in_the_end.acked("t", TopicChange::Delete, 0);
    in_the_end.in_the_end(2, there(7, 2));
    in_the_end.expect("resurrected-topic");
    let mut on_a_broker = Topics::new();
    on_a_broker.acked("t", TopicChange::Delete, 0);
    on_a_broker.shows(1, there(7, 2));
    on_a_broker.shows(1, GONE);
    on_a_broker.shows(1, there(7, 2));
    on_a_broker.expect("resurrected-topic");
    let mut in_place_of_the_new = Topics::new();
    in_place_of_the_new.acked("t", TopicChange::DeleteId { topic_id: 7 }, 0);
    in_place_of_the_new.acked("t", CREATE, 8);
    in_place_of_the_new.shows(1, there(8, 2));
    in_place_of_the_new.shows(1, there(7, 2));
    in_place_of_the_new.expect("resurrected-topic");
}

#[test]
fn broker_that_goes_back() {
    let mut partitions = Topics::new();
    partitions.acked("t", TopicChange::CreatePartitions { count: 4 }, 0);
    partitions.shows(1, there(7, 4));
    partitions.shows(1, there(7, 2));
    partitions.expect("went-back");
    let mut config = Topics::new();
    config.acked("t", set("1"), 0);
    config.acked("t", set("2"), 0);
    config.shows(1, has("2"));
    config.shows(1, has("1"));
    config.expect("went-back");
}

#[test]
fn one_id_for_two_topics() {
    let mut names = Topics::new();
    names.acked("u", CREATE, 7);
    names.expect("topic-id-reused");
    let mut again = Topics::new();
    again.acked("t", TopicChange::Delete, 0);
    again.acked("t", CREATE, 7);
    again.expect("topic-id-reused");
}

#[test]
fn what_nobody_asked_for() {
    let mut partitions = Topics::new();
    partitions.shows(1, there(7, 5));
    partitions.expect("never-asked");
    let mut config = Topics::new();
    config.shows(1, has("9"));
    config.expect("never-asked");
}

#[test]
fn silent_for_brokers_that_lag() {
    let mut topics = Topics::new();
    topics.acked("t", TopicChange::CreatePartitions { count: 4 }, 0);
    topics.acked("t", set("1"), 0);
    topics.acked("t", TopicChange::DeleteId { topic_id: 7 }, 0);
    topics.acked("t", CREATE, 8);
    for node in 1..=3 {
        topics.shows(node, GONE);
        topics.shows(node, there(7, 2));
        topics.shows(node, there(7, 4));
        topics.shows(node, has("1"));
        topics.shows(node, GONE);
        topics.shows(node, there(8, 2));
        topics.in_the_end(node, there(8, 2));
        topics.in_the_end(node, TopicFound::Config { name: "retention.ms", value: None });
    }
    topics.silent();
}

#[test]
fn silent_for_a_change_whose_outcome_nobody_knows() {
    for (in_the_end, again) in [(there(7, 2), GONE), (GONE, GONE)] {
        let mut topics = Topics::new();
        topics.maybe("t", TopicChange::Delete);
        topics.in_the_end(1, in_the_end);
        topics.in_the_end(2, again);
        topics.silent();
    }
    let mut topics = Topics::new();
    let op = topics.ask("t", set("1"));
    topics.ended(op, Outcome::Applied, 0, true);
    topics.acked("t", set("2"), 0);
    topics.in_the_end(1, has("1"));
    topics.silent();
}

#[test]
fn silent_for_answers_that_overlap_and_for_a_refusal() {
    let mut topics = Topics::new();
    topics.acked("t", TopicChange::CreatePartitions { count: 4 }, 0);
    let asked_before = topics.story.now;
    topics.shows(1, there(7, 4));
    topics.told(1, "t", asked_before - 1, false, there(7, 2));
    let op = topics.ask("t", CREATE);
    topics.ended(op, Outcome::NotApplied, 0, false);
    topics.in_the_end(1, there(7, 4));
    topics.silent();
}

#[test]
fn silent_for_an_old_controller_that_finds_nothing_to_change() {
    let mut topics = Topics::new();
    topics.acked("t", set("1"), 0);
    // It believes that nobody has set it.
    topics.acked("t", TopicChange::SetConfig { name: "retention.ms", value: None }, 0);
    topics.in_the_end(1, has("1"));
    topics.silent();
}

#[test]
fn silent_for_topics_that_were_there_before() {
    let mut topics = Topics::new();
    let now = topics.story.now;
    topics.told(1, "older", now, true, there(3, 9));
    topics.acked("older", TopicChange::CreatePartitions { count: 12 }, 0);
    topics.told(1, "older", now, true, there(3, 12));
    topics.silent();
}
