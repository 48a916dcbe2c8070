//! A fetcher's side of its fetch session (`FetchSessionHandler`, KIP-227): which partitions a request must name, and
//! what a response brought. Pure.

use super::hub::Key;
use burnin_wire::ErrorCode;
use burnin_wire::kafka::messages::FetchResponse;
use burnin_wire::kafka::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic, ForgottenTopic};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// What is wanted of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) offset: i64,
    pub(super) log_start_offset: i64,
    pub(super) bytes_max: i32,
    pub(super) leader_epoch: i32,
    /// -1 for an empty log.
    pub(super) last_fetched_epoch: i32,
}

/// What came for a partition, and what had been wished.
#[derive(Clone, Debug)]
pub(super) struct Arrived {
    pub(super) key: Key,
    pub(super) wish: Wish,
    pub(super) code: ErrorCode,
    pub(super) high_watermark: i64,
    pub(super) log_start_offset: i64,
    /// An epoch, and where it ended in the leader's log.
    pub(super) diverging: Option<(i32, i64)>,
    pub(super) records: Bytes,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    session_id: i32,
    /// Of the next request; 0 asks for a new session.
    epoch: i32,
    /// What the session holds.
    named: BTreeMap<Key, Wish>,
    /// What may have to be named anew.
    touched: BTreeSet<Key>,
}

impl Exchange {
    /// The partition's wish may have changed, or it came or went.
    pub(super) fn touch(&mut self, key: Key) {
        self.touched.insert(key);
    }

    /// The partition must be named again even if nothing about it changes: the leader had an error for it.
    pub(super) fn again(&mut self, key: Key) {
        self.named.remove(&key);
        self.touched.insert(key);
    }

    /// The next request begins a new session. With `keeps_id` it ends the old one, which the leader still has.
    pub(super) fn reset(&mut self, keeps_id: bool) {
        self.epoch = 0;
        if !keeps_id {
            self.session_id = 0;
        }
        self.named.clear();
    }

    /// The next request. `wish` says what is wanted of a partition; `None` for nothing.
    pub(super) fn request(
        &mut self,
        all: impl Iterator<Item = Key>,
        wish: impl Fn(&Key) -> Option<Wish>,
    ) -> FetchRequest {
        let request = FetchRequest::default().with_session_id(self.session_id).with_session_epoch(self.epoch);
        let mut topics = Vec::new();
        let mut forgotten: Vec<ForgottenTopic> = Vec::new();
        if self.epoch == 0 {
            self.touched.clear();
            self.named = all.filter_map(|key| wish(&key).map(|wish| (key, wish))).collect();
            self.named.iter().for_each(|(key, wish)| name(&mut topics, *key, *wish));
            return request.with_topics(topics);
        }
        for key in std::mem::take(&mut self.touched) {
            match wish(&key) {
                Some(wish) if self.named.insert(key, wish) == Some(wish) => {}
                Some(wish) => name(&mut topics, key, wish),
                None if self.named.remove(&key).is_some() => {
                    match forgotten.last_mut().filter(|topic| topic.topic_id == key.0) {
                        Some(topic) => topic.partitions.push(key.1),
                        None => forgotten.push(
                            ForgottenTopic::default().with_topic_id(key.0).with_partitions(vec![key.1]),
                        ),
                    }
                }
                None => {}
            }
        }
        request.with_topics(topics).with_forgotten_topics_data(forgotten)
    }

    /// Whether a request that is on its way can be followed by another before it is answered.
    pub(super) fn can_go_on(&self) -> bool {
        self.session_id != 0 && self.epoch != 0
    }

    /// Whether there is anything to say that no request has said.
    pub(super) fn has_news(&self) -> bool {
        !self.touched.is_empty()
    }

    /// The request behind one that is not answered yet, and what it names.
    pub(super) fn next_request(
        &mut self,
        wish: impl Fn(&Key) -> Option<Wish>,
    ) -> (FetchRequest, BTreeSet<Key>) {
        assert!(self.can_go_on(), "there is no session: id={} epoch={}", self.session_id, self.epoch);
        self.epoch = next(self.epoch);
        let named = self.touched.clone();
        (self.request(std::iter::empty(), wish), named)
    }

    /// Takes a response without an error in. What nobody asked for is left out.
    pub(super) fn take(&mut self, response: FetchResponse) -> Vec<Arrived> {
        self.session_id = response.session_id;
        self.epoch = match self.epoch {
            // Without a session every request is a full one.
            _ if response.session_id == 0 => 0,
            epoch => next(epoch),
        };
        self.arrived(response)
    }

    /// Takes the response in to a request that another has followed since, which is on its way. What that one names
    /// (`named`) is left to its response.
    pub(super) fn take_earlier(&mut self, response: FetchResponse, named: &BTreeSet<Key>) -> Vec<Arrived> {
        let mut arrived = self.arrived(response);
        arrived.retain(|arrived| !named.contains(&arrived.key));
        arrived
    }

    fn arrived(&self, response: FetchResponse) -> Vec<Arrived> {
        let mut arrived = Vec::new();
        for topic in response.responses {
            for data in topic.partitions {
                let key = (topic.topic_id, data.partition_index);
                let Some(wish) = self.named.get(&key).copied() else { continue };
                let diverging = data.diverging_epoch;
                arrived.push(Arrived {
                    key,
                    wish,
                    code: ErrorCode(data.error_code),
                    high_watermark: data.high_watermark,
                    log_start_offset: data.log_start_offset,
                    diverging: (diverging.epoch >= 0 || diverging.end_offset >= 0)
                        .then_some((diverging.epoch, diverging.end_offset)),
                    records: data.records.unwrap_or_default(),
                });
            }
        }
        arrived
    }
}

fn next(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

fn name(topics: &mut Vec<FetchTopic>, key: Key, wish: Wish) {
    let partition = FetchPartition::default()
        .with_partition(key.1)
        .with_current_leader_epoch(wish.leader_epoch)
        .with_fetch_offset(wish.offset)
        .with_last_fetched_epoch(wish.last_fetched_epoch)
        .with_log_start_offset(wish.log_start_offset)
        .with_partition_max_bytes(wish.bytes_max);
    match topics.last_mut().filter(|topic| topic.topic_id == key.0) {
        Some(topic) => topic.partitions.push(partition),
        None => topics.push(FetchTopic::default().with_topic_id(key.0).with_partitions(vec![partition])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn key(number: i32) -> Key {
        (Uuid::from_u128(9), number)
    }

    fn wish(offset: i64) -> Wish {
        Wish { offset, log_start_offset: 0, bytes_max: 1, leader_epoch: 3, last_fetched_epoch: -1 }
    }

    fn named(request: &FetchRequest) -> Vec<(i32, i64)> {
        let partitions = request.topics.iter().flat_map(|topic| &topic.partitions);
        partitions.map(|partition| (partition.partition, partition.fetch_offset)).collect()
    }

    #[test]
    fn only_what_changed_is_named_again_and_what_rests_is_forgotten() {
        let mut exchange = Exchange::default();
        let all = || [key(0), key(1)].into_iter();
        let first = exchange.request(all(), |_| Some(wish(5)));
        assert_eq!((first.session_id, first.session_epoch), (0, 0));
        assert_eq!(named(&first), [(0, 5), (1, 5)]);
        exchange.take(FetchResponse::default().with_session_id(7));
        let idle = exchange.request(all(), |_| Some(wish(5)));
        assert_eq!((idle.session_id, idle.session_epoch, named(&idle)), (7, 1, vec![]));
        exchange.take(FetchResponse::default().with_session_id(7));
        exchange.touch(key(0));
        exchange.touch(key(1));
        let next = exchange.request(all(), |key| (key.1 == 0).then(|| wish(6)));
        assert_eq!(named(&next), [(0, 6)]);
        assert_eq!(next.forgotten_topics_data[0].partitions, [1]);
        exchange.take(FetchResponse::default().with_session_id(7));
        exchange.touch(key(1));
        assert_eq!(named(&exchange.request(all(), |_| Some(wish(6)))), [(1, 6)], "it is back");
        exchange.take(FetchResponse::default().with_session_id(7));
        exchange.again(key(0));
        assert_eq!(named(&exchange.request(all(), |_| Some(wish(6)))), [(0, 6)], "after an error");
    }

    #[test]
    fn a_request_can_follow_one_that_is_not_answered() {
        let mut exchange = Exchange::default();
        exchange.request([key(0)].into_iter(), |_| Some(wish(5)));
        assert!(!exchange.can_go_on(), "there is no session yet");
        exchange.take(FetchResponse::default().with_session_id(7));
        assert_eq!(exchange.request([key(0)].into_iter(), |_| Some(wish(5))).session_epoch, 1);
        exchange.again(key(1));
        let (request, names) = exchange.next_request(|_| Some(wish(8)));
        assert_eq!((request.session_epoch, named(&request)), (2, vec![(1, 8)]));
        let data = |number| {
            burnin_wire::kafka::messages::fetch_response::PartitionData::default()
                .with_partition_index(number)
        };
        let topic = burnin_wire::kafka::messages::fetch_response::FetchableTopicResponse::default()
            .with_topic_id(key(0).0)
            .with_partitions(vec![data(0), data(1)]);
        let response = FetchResponse::default().with_session_id(7).with_responses(vec![topic]);
        let earlier = exchange.take_earlier(response.clone(), &names);
        assert_eq!(earlier.iter().map(|arrived| arrived.key).collect::<Vec<_>>(), [key(0)]);
        assert_eq!(exchange.take(response).len(), 2);
        assert_eq!(exchange.request(std::iter::empty(), |_| Some(wish(5))).session_epoch, 3);
    }

    #[test]
    fn a_reset_ends_the_session_that_is_known_and_names_everything() {
        let mut exchange = Exchange::default();
        exchange.request([key(0)].into_iter(), |_| Some(wish(5)));
        exchange.take(FetchResponse::default().with_session_id(7));
        exchange.reset(true);
        let request = exchange.request([key(0)].into_iter(), |_| Some(wish(5)));
        assert_eq!((request.session_id, request.session_epoch, named(&request).len()), (7, 0, 1));
        exchange.reset(false);
        let request = exchange.request([key(0)].into_iter(), |_| None);
        assert_eq!((request.session_id, named(&request).len()), (0, 0));
    }
}
