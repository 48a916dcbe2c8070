//! What answers mean.

use super::super::fetched::progress;
use super::super::{ConsumerEvent, Fetched};
use super::{EARLIEST, Fetch, LATEST, Phase, Question, State};
use crate::client::Network;
use crate::config::OffsetReset;
use crate::net::RequestFailure;
use burnin_runtime::Instant;
use burnin_wire::kafka::messages::fetch_response::PartitionData;
use burnin_wire::kafka::messages::{ListOffsetsResponse, OffsetForLeaderEpochResponse};
use burnin_wire::{ErrorCode, Response};
use bytes::Bytes;
use uuid::Uuid;

impl State {
    /// Takes an answer in.
    pub fn answered(
        &mut self,
        now: Instant,
        network: &dyn Network,
        token: u64,
        result: Result<Option<Response>, RequestFailure>,
    ) {
        let fetch =
            self.nodes.iter().position(|node| node.in_flight.as_ref().is_some_and(|f| f.token == token));
        if let Some(node) = fetch {
            return self.fetched(now, network, node, result);
        }
        let Some(at) = self.questions.iter().position(|question| question.token == token) else { return };
        let Question { slot, generation, .. } = self.questions.swap_remove(at);
        if self.assigned[slot].generation != generation {
            return;
        }
        self.assigned[slot].asking = false;
        let code = match result {
            Ok(Some(Response::ListOffsets(response))) => self.looked_up(slot, &response),
            Ok(Some(Response::OffsetForLeaderEpoch(response))) => self.checked(slot, &response),
            Ok(other) => unreachable!("a lookup was answered with {other:?}"),
            Err(_) => {
                self.back_off(now, slot);
                network.refresh_metadata();
                return;
            }
        };
        if code != 0 {
            self.refused(now, network, slot, ErrorCode(code));
        }
    }

    fn looked_up(&mut self, slot: usize, response: &ListOffsetsResponse) -> i16 {
        let assigned = &self.assigned[slot];
        let topic = response.topics.iter().find(|topic| topic.name.0 == assigned.name);
        let answer =
            topic.and_then(|topic| topic.partitions.iter().find(|p| p.partition_index == assigned.at.index));
        let Some(answer) = answer else { return ErrorCode::UNKNOWN_SERVER_ERROR.0 };
        if answer.error_code != 0 {
            return answer.error_code;
        }
        if answer.offset < 0 {
            // No record is that new.
            self.assigned[slot].phase = Phase::Lookup(LATEST);
        } else {
            // The epoch of the offset is that of the record before it only at the end: do not trust it.
            self.begin_at(slot, answer.offset, -1);
        }
        0
    }

    fn checked(&mut self, slot: usize, response: &OffsetForLeaderEpochResponse) -> i16 {
        let assigned = &mut self.assigned[slot];
        let topic = response.topics.iter().find(|topic| topic.topic.0 == assigned.name);
        let answer =
            topic.and_then(|topic| topic.partitions.iter().find(|p| p.partition == assigned.at.index));
        let Some(answer) = answer else { return ErrorCode::UNKNOWN_SERVER_ERROR.0 };
        if answer.error_code != 0 {
            return answer.error_code;
        }
        assigned.checked_epoch = assigned.leader.map_or(-1, |(_, epoch)| epoch);
        assigned.failures = 0;
        let end_offset = (answer.end_offset >= 0 && answer.leader_epoch >= 0).then_some(answer.end_offset);
        if end_offset.is_some_and(|end| end >= assigned.position) {
            assigned.phase = Phase::Fetch;
            return 0;
        }
        let (partition, position) = (assigned.at, assigned.position);
        self.events.push_back(ConsumerEvent::Truncated { partition, position, end_offset });
        match (self.config.offset_reset, end_offset) {
            (OffsetReset::None, _) => self.assigned[slot].phase = Phase::Stopped,
            (_, Some(end)) => self.begin_at(slot, end, answer.leader_epoch),
            (OffsetReset::Earliest, None) => self.assigned[slot].phase = Phase::Lookup(EARLIEST),
            (OffsetReset::Latest, None) => self.assigned[slot].phase = Phase::Lookup(LATEST),
        }
        0
    }

    fn fetched(
        &mut self,
        now: Instant,
        network: &dyn Network,
        node_at: usize,
        result: Result<Option<Response>, RequestFailure>,
    ) {
        let node = &mut self.nodes[node_at];
        let Fetch { asked, .. } = node.in_flight.take().expect("looked at");
        let response = match result {
            Ok(Some(Response::Fetch(response))) => response,
            Ok(other) => unreachable!("a fetch was answered with {other:?}"),
            Err(_) => {
                node.session.failed(false);
                node.failures = node.failures.saturating_add(1);
                node.not_before = now + self.retry_backoff.after(node.failures, &mut self.entropy);
                network.refresh_metadata();
                return;
            }
        };
        let code = ErrorCode(response.error_code);
        if code.is_err() {
            let gone = code == ErrorCode::FETCH_SESSION_ID_NOT_FOUND;
            node.session.failed(gone);
            if !gone && code != ErrorCode::INVALID_FETCH_SESSION_EPOCH {
                node.failures = node.failures.saturating_add(1);
                node.not_before = now + self.retry_backoff.after(node.failures, &mut self.entropy);
                network.refresh_metadata();
                for (slot, ..) in asked {
                    let partition = self.assigned[slot].at;
                    self.events.push_back(ConsumerEvent::Refused { partition, code });
                }
            }
            return;
        }
        node.session.answered(response.session_id);
        node.failures = 0;
        for topic in response.responses {
            let topic_id = topic.topic_id;
            for data in topic.partitions {
                let found = asked.iter().find(|(slot, ..)| {
                    let assigned = &self.assigned[*slot];
                    assigned.at.index == data.partition_index
                        && if topic_id.is_nil() {
                            topic.topic.0 == assigned.name
                        } else {
                            topic_id == assigned.topic_id
                        }
                });
                if let Some((slot, generation, offset)) = found.copied()
                    && self.assigned[slot].generation == generation
                    && self.assigned[slot].position == offset
                {
                    self.partition_fetched(now, network, slot, (topic_id, offset), data);
                }
            }
        }
    }

    fn partition_fetched(
        &mut self,
        now: Instant,
        network: &dyn Network,
        slot: usize,
        (topic_id, fetch_offset): (Uuid, i64),
        data: PartitionData,
    ) {
        let code = ErrorCode(data.error_code);
        if code == ErrorCode::OFFSET_OUT_OF_RANGE {
            return self.out_of_range(slot, fetch_offset);
        }
        if code.is_err() {
            return self.refused(now, network, slot, code);
        }
        let batches: Bytes = data.records.unwrap_or_default();
        let progress = progress(&batches, fetch_offset);
        if progress.is_none() && !batches.is_empty() {
            // It would be answered in the same way for ever.
            return self.refused(now, network, slot, ErrorCode::CORRUPT_MESSAGE);
        }
        let assigned = &mut self.assigned[slot];
        assigned.failures = 0;
        let moved = assigned.high_watermark != data.high_watermark
            || assigned.log_start_offset != data.log_start_offset;
        assigned.high_watermark = data.high_watermark;
        assigned.log_start_offset = data.log_start_offset;
        if let Some((next_offset, epoch)) = progress {
            assigned.position = next_offset;
            assigned.read_epoch = epoch;
        }
        if progress.is_some() || moved {
            assigned.buffered += 1;
            self.events.push_back(ConsumerEvent::Fetched(Fetched {
                partition: assigned.at,
                topic_id,
                fetch_offset,
                next_offset: assigned.position,
                log_start_offset: data.log_start_offset,
                high_watermark: data.high_watermark,
                batches,
                check_crcs: self.config.check_crcs,
            }));
        }
    }

    fn out_of_range(&mut self, slot: usize, offset: i64) {
        let assigned = &mut self.assigned[slot];
        self.events.push_back(ConsumerEvent::OutOfRange { partition: assigned.at, offset });
        assigned.phase = match self.config.offset_reset {
            OffsetReset::None => Phase::Stopped,
            OffsetReset::Earliest => Phase::Lookup(EARLIEST),
            OffsetReset::Latest => Phase::Lookup(LATEST),
        };
    }

    fn refused(&mut self, now: Instant, network: &dyn Network, slot: usize, code: ErrorCode) {
        self.back_off(now, slot);
        let partition = self.assigned[slot].at;
        self.events.push_back(ConsumerEvent::Refused { partition, code });
        network.refresh_metadata();
    }

    fn back_off(&mut self, now: Instant, slot: usize) {
        let assigned = &mut self.assigned[slot];
        assigned.failures = assigned.failures.saturating_add(1);
        assigned.not_before = now + self.retry_backoff.after(assigned.failures, &mut self.entropy);
    }
}
