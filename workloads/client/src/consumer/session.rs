//! A fetch session (KIP-227): the broker remembers what is fetched, so that a request names only what changed
//! and an answer only what is new. Sans-io; as `FetchSessionHandler` in Kafka.

use crate::metadata::PartitionRef;
use std::collections::BTreeMap;

/// `FetchMetadata.INITIAL_EPOCH`: closes the session of this id, if any, and asks for a new one.
const INITIAL_EPOCH: i32 = 0;
/// `FetchMetadata.FINAL_EPOCH`: no session at all.
const FINAL_EPOCH: i32 = -1;

/// What is asked of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Want {
    pub at: PartitionRef,
    pub offset: i64,
    pub leader_epoch: i32,
}

/// What the next request says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Ask {
    pub session_id: i32,
    pub session_epoch: i32,
    pub wants: Vec<Want>,
    pub forgotten: Vec<PartitionRef>,
}

/// One broker's session.
#[derive(Debug)]
pub(super) struct Session {
    enabled: bool,
    id: i32,
    epoch: i32,
    /// What the broker knows, once the session exists.
    known: BTreeMap<PartitionRef, Want>,
    /// Whether the request on its way named everything.
    full: bool,
}

impl Session {
    pub fn new(enabled: bool) -> Self {
        let epoch = if enabled { INITIAL_EPOCH } else { FINAL_EPOCH };
        Session { enabled, id: 0, epoch, known: BTreeMap::new(), full: true }
    }

    /// The next request, which is to cover exactly `wants`.
    pub fn ask(&mut self, wants: &[Want]) -> Ask {
        self.full = self.epoch <= INITIAL_EPOCH;
        if self.full {
            self.known = if self.enabled {
                wants.iter().map(|want| (want.at, *want)).collect()
            } else {
                BTreeMap::new()
            };
            let wants = wants.to_vec();
            return Ask { session_id: self.id, session_epoch: self.epoch, wants, forgotten: Vec::new() };
        }
        let mut ask = Ask { session_id: self.id, session_epoch: self.epoch, ..Ask::default() };
        for want in wants {
            if self.known.insert(want.at, *want) != Some(*want) {
                ask.wants.push(*want);
            }
        }
        if self.known.len() > wants.len() {
            self.known.retain(|at, _| {
                let stays = wants.iter().any(|want| want.at == *at);
                if !stays {
                    ask.forgotten.push(*at);
                }
                stays
            });
        }
        ask
    }

    /// The request was answered without an error of its own.
    pub fn answered(&mut self, session_id: i32) {
        if !self.enabled {
            return;
        }
        if self.full {
            // 0: the broker makes no session for us.
            self.id = session_id;
            self.epoch = if session_id == 0 { INITIAL_EPOCH } else { 1 };
        } else {
            self.epoch = if self.epoch == i32::MAX { 1 } else { self.epoch + 1 };
        }
    }

    /// The request had no answer, or one with an error: begin anew. `gone`: the broker has no such session.
    pub fn failed(&mut self, gone: bool) {
        if gone {
            self.id = 0;
        }
        self.epoch = if self.enabled { INITIAL_EPOCH } else { FINAL_EPOCH };
        self.known.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::TopicRef;

    fn want(index: i32, offset: i64) -> Want {
        Want { at: PartitionRef { topic: TopicRef(0), index }, offset, leader_epoch: 0 }
    }

    #[test]
    fn only_changes_are_sent_once_the_session_exists() {
        let mut session = Session::new(true);
        let ask = session.ask(&[want(0, 5), want(1, 7)]);
        assert_eq!((ask.session_id, ask.session_epoch, ask.wants.len()), (0, 0, 2));
        session.answered(33);
        let ask = session.ask(&[want(0, 6), want(1, 7)]);
        assert_eq!((ask.session_id, ask.session_epoch), (33, 1));
        assert_eq!(ask.wants, [want(0, 6)]);
        session.answered(33);
        let ask = session.ask(&[want(1, 7)]);
        assert_eq!((ask.session_epoch, ask.wants.len()), (2, 0));
        assert_eq!(ask.forgotten, [want(0, 6).at]);
        session.answered(33);
        assert_eq!(session.ask(&[want(0, 6), want(1, 7)]).wants, [want(0, 6)]);
    }

    #[test]
    fn broken_session_is_closed_and_begun_anew() {
        let mut session = Session::new(true);
        session.ask(&[want(0, 5)]);
        session.answered(33);
        session.ask(&[want(0, 6)]);
        session.failed(false);
        let ask = session.ask(&[want(0, 6)]);
        assert_eq!((ask.session_id, ask.session_epoch, ask.wants.len()), (33, 0, 1));
        session.failed(true);
        assert_eq!(session.ask(&[want(0, 6)]).session_id, 0);
        session.answered(0);
        let ask = session.ask(&[want(0, 6)]);
        assert_eq!((ask.session_epoch, ask.wants.len()), (0, 1), "the broker made none: everything again");
    }

    #[test]
    fn without_sessions_every_request_names_everything() {
        let mut session = Session::new(false);
        for _ in 0..3 {
            let ask = session.ask(&[want(0, 5)]);
            assert_eq!((ask.session_id, ask.session_epoch, ask.wants.len()), (0, -1, 1));
            session.answered(0);
        }
    }
}
