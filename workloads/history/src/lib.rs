//! The history: what clients asked, what they were told, what they read, and which faults were injected.
//!
//! Workload drivers write it, checkers read it, and a checker sees nothing else. It streams: an [`Event`] is
//! handed to every checker when it happens and need not be kept. Attempts are kept apart from operations,
//! because a client's retries decide the outcome.

mod event;
mod payload;

pub use event::{
    Acks, ConsumerId, Event, FaultEvent, Flush, Moment, NodeId, OffsetSpec, OpId, Outcome, ProducerId, Seen,
    Sink, TopicChange, TopicFound, Tp,
};
pub use payload::{HEADER_BYTES, Payload, PayloadError};
