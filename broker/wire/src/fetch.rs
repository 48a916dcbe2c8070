//! Fetch responses, written so that record batches go from the log to the socket as they are.
//!
//! Everything around the batches goes into one buffer, which is cut where batches belong when all is written; the
//! batches themselves are handed on as the [`Bytes`] that they came in.

use std::collections::VecDeque;

use bytes::{BufMut, Bytes};
use kafka_protocol::messages::FetchResponse;
use kafka_protocol::messages::fetch_response::{
    EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData, SnapshotId,
};

use crate::api::Api;
use crate::frame::{RequestHeader, frame_length, response_start};
use crate::parts::Parts;

/// Encodes a Fetch response, length included.
///
/// `batches` has one entry for each partition of the response, in order: the batches to send for it, and the
/// partition's own `records` are not looked at. When `batches` is empty, each partition's `records` are sent.
/// A partition without records gets an empty record set, never a null one, which some versions of librdkafka log
/// as an error.
///
/// # Panics
/// When the header is not of a Fetch request, when `batches` does not fit the response, or when a field is set that
/// the version cannot carry: bugs of the caller.
pub fn encode_fetch_response(
    header: &RequestHeader,
    response: &FetchResponse,
    batches: &[Vec<Bytes>],
) -> Parts {
    assert!(header.api == Api::Fetch, "Fetch response to a request of {}", header.api);
    let partitions: usize = response.responses.iter().map(|topic| topic.partitions.len()).sum();
    assert!(
        batches.is_empty() || batches.len() == partitions,
        "batches of {} partitions for a response with {partitions}",
        batches.len()
    );
    let mut writer = Writer {
        version: header.version,
        buf: response_start(header, 64 + 96 * partitions),
        sent: Vec::new(),
        sent_len: 0,
    };
    writer.response(response, batches);
    writer.finish()
}

struct Writer {
    version: i16,
    /// Everything but the batches; the frame's length is still to be put into it.
    buf: Vec<u8>,
    /// The batches, each with its place in `buf`.
    sent: Vec<(usize, Bytes)>,
    sent_len: usize,
}

impl Writer {
    fn flexible(&self) -> bool {
        self.version >= 12
    }

    fn response(&mut self, response: &FetchResponse, batches: &[Vec<Bytes>]) {
        self.buf.put_i32(response.throttle_time_ms);
        if self.version >= 7 {
            self.buf.put_i16(response.error_code);
            self.buf.put_i32(response.session_id);
        } else {
            assert!(response.session_id == 0, "session {} in Fetch v{}", response.session_id, self.version);
        }
        self.count(response.responses.len());
        let mut batches = batches.iter();
        for topic in &response.responses {
            self.topic(topic, &mut batches);
        }
        if self.version >= 16 && !response.node_endpoints.is_empty() {
            self.node_endpoints(&response.node_endpoints);
        } else {
            self.no_tags();
        }
    }

    fn topic<'a>(
        &mut self,
        topic: &FetchableTopicResponse,
        batches: &mut impl Iterator<Item = &'a Vec<Bytes>>,
    ) {
        if self.version >= 13 {
            self.buf.put_slice(topic.topic_id.as_bytes());
        } else {
            self.string(&topic.topic);
        }
        self.count(topic.partitions.len());
        for partition in &topic.partitions {
            self.partition(partition);
            match batches.next() {
                Some(batches) => self.records(batches),
                None => self.records(partition.records.as_slice()),
            }
            self.partition_tags(partition);
        }
        self.no_tags();
    }

    fn partition(&mut self, partition: &PartitionData) {
        let buf = &mut self.buf;
        buf.put_i32(partition.partition_index);
        buf.put_i16(partition.error_code);
        buf.put_i64(partition.high_watermark);
        buf.put_i64(partition.last_stable_offset);
        if self.version >= 5 {
            buf.put_i64(partition.log_start_offset);
        }
        match &partition.aborted_transactions {
            None if self.flexible() => self.buf.put_u8(0),
            None => self.buf.put_i32(-1),
            Some(aborted) => {
                self.count(aborted.len());
                for transaction in aborted {
                    self.buf.put_i64(transaction.producer_id.0);
                    self.buf.put_i64(transaction.first_offset);
                    self.no_tags();
                }
            }
        }
        if self.version >= 11 {
            self.buf.put_i32(partition.preferred_read_replica.0);
        } else {
            let replica = partition.preferred_read_replica.0;
            assert!(replica == -1, "preferred read replica {replica} in Fetch v{}", self.version);
        }
    }

    fn records(&mut self, batches: &[Bytes]) {
        let length: usize = batches.iter().map(Bytes::len).sum();
        if self.flexible() {
            let length = u32::try_from(length).expect("records of a partition are shorter than 2 GiB");
            put_unsigned_varint(&mut self.buf, length + 1);
        } else {
            let length = i32::try_from(length).expect("records of a partition are shorter than 2 GiB");
            self.buf.put_i32(length);
        }
        for batch in batches.iter().filter(|batch| !batch.is_empty()) {
            self.sent_len += batch.len();
            self.sent.push((self.buf.len(), batch.clone()));
        }
    }

    fn partition_tags(&mut self, partition: &PartitionData) {
        if !self.flexible() {
            return;
        }
        let PartitionData { diverging_epoch, current_leader, snapshot_id, .. } = partition;
        let diverging_epoch = Some(diverging_epoch).filter(|epoch| **epoch != EpochEndOffset::default());
        let current_leader = Some(current_leader).filter(|leader| **leader != LeaderIdAndEpoch::default());
        let snapshot_id = Some(snapshot_id).filter(|id| **id != SnapshotId::default());
        let count = u8::from(diverging_epoch.is_some())
            + u8::from(current_leader.is_some())
            + u8::from(snapshot_id.is_some());
        // Each is a tag, a length and a struct that ends in a count of tagged fields; all of them one byte.
        let buf = &mut self.buf;
        buf.put_u8(count);
        if let Some(diverging) = diverging_epoch {
            buf.put_slice(&[0, 13]);
            buf.put_i32(diverging.epoch);
            buf.put_i64(diverging.end_offset);
            buf.put_u8(0);
        }
        if let Some(leader) = current_leader {
            buf.put_slice(&[1, 9]);
            buf.put_i32(leader.leader_id.0);
            buf.put_i32(leader.leader_epoch);
            buf.put_u8(0);
        }
        if let Some(snapshot) = snapshot_id {
            buf.put_slice(&[2, 13]);
            buf.put_i64(snapshot.end_offset);
            buf.put_i32(snapshot.epoch);
            buf.put_u8(0);
        }
    }

    fn node_endpoints(&mut self, endpoints: &[NodeEndpoint]) {
        let outer = std::mem::take(&mut self.buf);
        self.count(endpoints.len());
        for endpoint in endpoints {
            self.buf.put_i32(endpoint.node_id.0);
            self.string(&endpoint.host);
            self.buf.put_i32(endpoint.port);
            match &endpoint.rack {
                Some(rack) => self.string(rack),
                None => self.buf.put_u8(0),
            }
            self.no_tags();
        }
        let value = std::mem::replace(&mut self.buf, outer);
        self.buf.put_slice(&[1, 0]);
        put_unsigned_varint(&mut self.buf, u32::try_from(value.len()).expect("endpoints are short"));
        self.buf.put_slice(&value);
    }

    fn count(&mut self, count: usize) {
        let count = i32::try_from(count).expect("fewer than 2^31 elements");
        if self.flexible() {
            put_unsigned_varint(&mut self.buf, count as u32 + 1);
        } else {
            self.buf.put_i32(count);
        }
    }

    fn string(&mut self, string: &str) {
        if self.flexible() {
            put_unsigned_varint(&mut self.buf, u32::try_from(string.len()).expect("a short string") + 1);
        } else {
            self.buf.put_i16(i16::try_from(string.len()).expect("a string is shorter than 32 KiB"));
        }
        self.buf.put_slice(string.as_bytes());
    }

    fn no_tags(&mut self) {
        if self.flexible() {
            self.buf.put_u8(0);
        }
    }

    fn finish(mut self) -> Parts {
        let length = frame_length(self.buf.len() - 4 + self.sent_len);
        self.buf[..4].copy_from_slice(&length);
        let mut around = Bytes::from(self.buf);
        let first = match self.sent.first() {
            Some((place, _)) => around.split_to(*place),
            None => std::mem::take(&mut around),
        };
        let mut cut = first.len();
        let mut rest = VecDeque::with_capacity(2 * self.sent.len());
        for (place, batch) in self.sent {
            if place > cut {
                rest.push_back(around.split_to(place - cut));
                cut = place;
            }
            rest.push_back(batch);
        }
        if !around.is_empty() {
            rest.push_back(around);
        }
        Parts::from_pieces(first, rest)
    }
}

fn put_unsigned_varint(buf: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        buf.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    buf.put_u8(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Rng, generate};
    use crate::{Response, StrBytes, decode_request, decode_response, encode_request, encode_response};

    fn header(version: i16) -> RequestHeader {
        RequestHeader { api: Api::Fetch, version, correlation_id: 77, client_id: None }
    }

    /// Any response of this version, as the protocol crate decodes it from generated bytes.
    fn response(rng: &mut Rng, version: i16) -> FetchResponse {
        let frame = generate::response_without_unknown_tags(rng, Api::Fetch, version);
        match decode_response(Api::Fetch, version, frame.bytes) {
            Ok(Response::Fetch(response)) => response,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn bytes_are_those_of_the_protocol_crate_in_every_version() {
        let mut rng = Rng::new(1);
        let versions = Api::Fetch.versions();
        for version in versions.min..=versions.max {
            let mut with_records = 0;
            for _ in 0..300 {
                let mut response = response(&mut rng, version);
                for partition in response.responses.iter_mut().flat_map(|topic| &mut topic.partitions) {
                    partition.records.get_or_insert_default();
                    with_records += partition.records.iter().filter(|records| !records.is_empty()).count();
                }
                let mut theirs = response_start(&header(version), 0);
                Response::Fetch(response.clone()).encode(&mut theirs, version).unwrap();
                let length = frame_length(theirs.len() - 4);
                theirs[..4].copy_from_slice(&length);
                let ours = encode_fetch_response(&header(version), &response, &[]);
                assert_eq!(ours.len(), theirs.len());
                assert_eq!(ours.into_bytes(), Bytes::from(theirs), "v{version} {response:?}");
            }
            assert!(with_records > 100, "v{version}: {with_records} partitions with records");
        }
    }

    #[test]
    fn what_replicas_of_the_metadata_log_say_arrives() {
        use kafka_protocol::messages::fetch_request::{
            FetchPartition, FetchRequest, FetchTopic, ReplicaState,
        };
        let partition = FetchPartition::default()
            .with_fetch_offset(70)
            .with_last_fetched_epoch(4)
            .with_current_leader_epoch(5)
            .with_replica_directory_id(uuid::Uuid::from_u128(9))
            .with_high_watermark(66);
        let topic =
            FetchTopic::default().with_topic_id(uuid::Uuid::from_u128(1)).with_partitions(vec![partition]);
        let request = FetchRequest::default()
            .with_cluster_id(Some(StrBytes::from_static_str("cluster")))
            .with_replica_state(ReplicaState::default().with_replica_id(2.into()).with_replica_epoch(33))
            .with_topics(vec![topic]);
        let mut frame = encode_request(18, 7, "2", &request.clone().into()).into_bytes();
        let _length = frame.split_to(4);
        let (header, decoded) = decode_request(frame).unwrap();
        assert_eq!(decoded, request.into());

        let partition = PartitionData::default()
            .with_high_watermark(66)
            .with_diverging_epoch(EpochEndOffset::default().with_epoch(3).with_end_offset(60))
            .with_current_leader(LeaderIdAndEpoch::default().with_leader_id(1.into()).with_leader_epoch(6))
            .with_snapshot_id(SnapshotId::default().with_end_offset(50).with_epoch(2))
            .with_records(Some(Bytes::new()));
        let topic = FetchableTopicResponse::default()
            .with_topic_id(uuid::Uuid::from_u128(1))
            .with_partitions(vec![partition]);
        let endpoint = NodeEndpoint::default()
            .with_node_id(1.into())
            .with_host(StrBytes::from_static_str("c1"))
            .with_port(9093)
            .with_rack(None);
        let response =
            FetchResponse::default().with_responses(vec![topic]).with_node_endpoints(vec![endpoint]);
        let mut frame = encode_fetch_response(&header, &response, &[]).into_bytes();
        let _length = frame.split_to(4);
        assert_eq!(decode_response(Api::Fetch, 18, frame), Ok(response.into()));
    }

    #[test]
    fn produce_response_tells_the_leader() {
        use kafka_protocol::messages::produce_response as produce;
        let leader = produce::LeaderIdAndEpoch::default().with_leader_id(2.into()).with_leader_epoch(8);
        let partition =
            produce::PartitionProduceResponse::default().with_error_code(6).with_current_leader(leader);
        let topic = produce::TopicProduceResponse::default().with_partition_responses(vec![partition]);
        let endpoint = produce::NodeEndpoint::default()
            .with_node_id(2.into())
            .with_host(StrBytes::from_static_str("b2"))
            .with_port(9092)
            .with_rack(Some(StrBytes::from_static_str("r")));
        let response = produce::ProduceResponse::default()
            .with_responses(vec![topic])
            .with_node_endpoints(vec![endpoint]);
        let header = RequestHeader { api: Api::Produce, version: 10, correlation_id: 1, client_id: None };
        let mut frame = encode_response(&header, &response.clone().into()).into_bytes();
        let _length = frame.split_to(4);
        assert_eq!(decode_response(Api::Produce, 10, frame), Ok(response.into()));
    }

    #[test]
    fn batches_are_handed_on_and_not_copied() {
        let mut rng = Rng::new(2);
        for version in [4, 11, 12, 18] {
            let mut response = response(&mut rng, version);
            response.responses = vec![FetchableTopicResponse::default(); 2];
            for topic in &mut response.responses {
                topic.partitions = vec![PartitionData::default(), PartitionData::default()];
            }
            let batch = |byte: u8, length| Bytes::from(vec![byte; length]);
            let batches = [vec![batch(1, 100), batch(2, 50)], vec![], vec![batch(3, 0)], vec![batch(4, 300)]];
            let parts = encode_fetch_response(&header(version), &response, &batches);
            for sent in [&batches[0][0], &batches[0][1], &batches[3][0]] {
                assert!(parts.iter().any(|part| part.as_ptr() == sent.as_ptr() && part.len() == sent.len()));
            }
            let mut frame = parts.into_bytes();
            let length = frame.split_to(4);
            assert_eq!(length[..], frame_length(frame.len()));
            let Ok(Response::Fetch(decoded)) = decode_response(Api::Fetch, version, frame) else {
                panic!("v{version} is not decoded");
            };
            let records: Vec<usize> = decoded
                .responses
                .iter()
                .flat_map(|topic| &topic.partitions)
                .map(|partition| partition.records.as_ref().expect("empty, never null").len())
                .collect();
            assert_eq!(records, [150, 0, 0, 300]);
        }
    }
}
