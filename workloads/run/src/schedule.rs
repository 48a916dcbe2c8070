//! Which fault of a plan is due when. Knows no nodes: the injector tells it what began and what had to wait.
//!
//! An entry begins when its time has come, and waits for as long as it cannot; an entry `with` another keeps its
//! distance to it, however long that one waited.

use burnin_history::NodeId;
use burnin_runtime::Instant;
use burnin_scenario::ScheduledFault;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a fault that had to wait waits before it is tried again, besides after each other fault's end.
const RETRY: Duration = Duration::from_millis(100);

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Entry number so-and-so begins.
    Begin(usize),
    /// It ends.
    End(usize),
    /// A node that a fault kept down is started.
    Start(NodeId),
}

/// See the module.
pub(crate) struct Schedule<'a> {
    entries: &'a [ScheduledFault],
    steps: BTreeMap<(Instant, u64), Step>,
    counter: u64,
    waiting: Vec<usize>,
    waits: u64,
}

impl<'a> Schedule<'a> {
    /// Of a plan's entries. Nothing is due before it begins.
    pub fn new(entries: &'a [ScheduledFault]) -> Self {
        Schedule { entries, steps: BTreeMap::new(), counter: 0, waiting: Vec::new(), waits: 0 }
    }

    /// The entries' times count from `began`.
    pub fn begin(&mut self, began: Instant) {
        for (index, entry) in self.entries.iter().enumerate() {
            if entry.with.is_none() {
                self.push(began + entry.at.std(), Step::Begin(index));
            }
        }
    }

    /// A node is to be started at that time.
    pub fn start(&mut self, at: Instant, node: NodeId) {
        self.push(at, Step::Start(node));
    }

    fn push(&mut self, at: Instant, step: Step) {
        self.counter += 1;
        self.steps.insert((at, self.counter), step);
    }

    /// When there may be something to do next.
    pub fn wake(&self, now: Instant) -> Instant {
        let next = self.steps.first_key_value().map_or(Instant::FAR_FUTURE, |((at, _), _)| *at);
        if self.waiting.is_empty() { next } else { next.min(now + RETRY) }
    }

    /// The next step whose time has come.
    pub fn due(&mut self, now: Instant) -> Option<Step> {
        let entry = self.steps.first_entry().filter(|entry| entry.key().0 <= now)?;
        Some(entry.remove())
    }

    /// An entry began now: its companions follow, and its end, if there is something to undo then.
    pub fn began(&mut self, index: usize, now: Instant, ends: bool) {
        let entry = &self.entries[index];
        if ends {
            self.push(now + entry.lasts.std(), Step::End(index));
        }
        for (other, companion) in self.entries.iter().enumerate() {
            if companion.with.as_deref() == Some(&entry.id) {
                let distance = companion.at.std().saturating_sub(entry.at.std());
                self.push(now + distance, Step::Begin(other));
            }
        }
    }

    /// An entry whose time has come cannot begin yet; `again` says that it was tried before.
    pub fn must_wait(&mut self, index: usize, again: bool) {
        self.waits += u64::from(!again);
        self.waiting.push(index);
    }

    /// The entries that wait, to be tried again.
    pub fn take_waiting(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.waiting)
    }

    /// Nothing begins or ends any more.
    pub fn close(&mut self) {
        self.steps.clear();
    }

    /// How many entries had to wait.
    pub fn waits(&self) -> u64 {
        self.waits
    }

    /// The ids of those that still do.
    pub fn still_waiting(&self) -> Vec<String> {
        self.waiting.iter().map(|index| self.entries[*index].id.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burnin_scenario::{Action, Capability, Dur};

    fn entry(id: &str, at_ms: u64, lasts_ms: u64, with: Option<&str>) -> ScheduledFault {
        ScheduledFault {
            id: id.to_owned(),
            at: Dur::from_millis(at_ms),
            lasts: Dur::from_millis(lasts_ms),
            on: None,
            with: with.map(str::to_owned),
            needs: vec![Capability::Process],
            action: Action::ProcessKill {},
        }
    }

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    #[test]
    fn companion_keeps_its_distance_to_one_that_waited() {
        let entries = [entry("a#1", 100, 50, None), entry("b#1", 170, 0, Some("a#1"))];
        let mut schedule = Schedule::new(&entries);
        schedule.begin(at(1000));
        assert_eq!(schedule.wake(at(0)), at(1100));
        assert_eq!(schedule.due(at(1099)), None);
        assert_eq!(schedule.due(at(1100)), Some(Step::Begin(0)));
        schedule.must_wait(0, false);
        assert_eq!(schedule.wake(at(1100)), at(1200), "tried again soon");
        assert_eq!(schedule.take_waiting(), [0]);
        schedule.must_wait(0, true);
        assert_eq!((schedule.waits(), schedule.still_waiting()), (1, vec!["a#1".to_owned()]));
        assert_eq!(schedule.take_waiting(), [0]);
        schedule.began(0, at(1300), true);
        assert_eq!(schedule.due(at(1350)), Some(Step::End(0)));
        assert_eq!((schedule.due(at(1369)), schedule.wake(at(1369))), (None, at(1370)));
        assert_eq!(schedule.due(at(1370)), Some(Step::Begin(1)));
        schedule.began(1, at(1370), false);
        assert_eq!(schedule.wake(at(1370)), Instant::FAR_FUTURE);
    }
}
