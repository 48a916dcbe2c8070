//! What the answer to one attempt of a produce request says about its effect: the outcome table.
//!
//! A history is sound only if an operation is called `NotApplied` when it provably was not, and never will
//! be, appended. So the default is [`Outcome::Maybe`], and each row that claims more says why. The rows follow
//! Kafka's `ReplicaManager.appendRecordsToLeader`, `LogValidator`, `ProducerAppendInfo` (which all decide
//! before the append) and `DelayedProduce` (which answers after it, and only for acks=all).

use burnin_history::{Acks, Outcome};

/// The connection broke before the answer came.
pub const CONNECTION_BROKE: i16 = -1000;
/// The answer did not come within `request.timeout.ms`.
pub const REQUEST_TIMED_OUT_AT_CLIENT: i16 = -1001;
/// The operation's `delivery.timeout.ms` passed before the first attempt could be made.
pub const EXPIRED_UNSENT: i16 = -1002;
/// The answer did not mention the partition.
pub const MISSING_IN_RESPONSE: i16 = -1003;
/// The producer was closed.
pub const PRODUCER_CLOSED: i16 = -1004;

/// What a producer does after an attempt ended in this way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The operation is complete.
    Done,
    /// Try again after the backoff.
    Retry,
    /// The same, and the metadata is stale.
    RetryElsewhere,
    /// The broker does not know the sequence: the epoch must be bumped before the batch is sent again.
    BumpEpoch,
    /// The broker knows a later epoch of this producer id: a new id is needed.
    NewProducerId,
    /// It will never work.
    Fail,
}

/// What one error code means for the attempt that it answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether this attempt took effect.
    pub outcome: Outcome,
    /// What to do next.
    pub next: Next,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Kafka's number.
    pub code: i16,
    /// Kafka's name.
    pub name: &'static str,
    /// For acks=1, where the answer is given at the append.
    pub acks_leader: Outcome,
    /// For acks=all, where the answer may be given while waiting for replication, after the append.
    pub acks_all: Outcome,
    /// What to do next.
    pub next: Next,
    /// Why the outcome is what it is.
    pub why: &'static str,
}

const fn row(
    code: i16,
    name: &'static str,
    acks_leader: Outcome,
    acks_all: Outcome,
    next: Next,
    why: &'static str,
) -> Row {
    Row { code, name, acks_leader, acks_all, next, why }
}

use Next::{BumpEpoch, Done, Fail, NewProducerId, Retry, RetryElsewhere};
use Outcome::{Applied, Maybe, NotApplied};

/// Every code that a produce response is known to carry. What is not here is `Maybe` and fails.
pub const TABLE: &[Row] = &[
    row(
        MISSING_IN_RESPONSE,
        "(missing in the response)",
        Maybe,
        Maybe,
        Retry,
        "the broker broke the protocol",
    ),
    row(
        REQUEST_TIMED_OUT_AT_CLIENT,
        "(request.timeout.ms)",
        Maybe,
        Maybe,
        RetryElsewhere,
        "may be served late",
    ),
    row(
        CONNECTION_BROKE,
        "(disconnected)",
        Maybe,
        Maybe,
        RetryElsewhere,
        "may have been served, or may be yet",
    ),
    row(-1, "UNKNOWN_SERVER_ERROR", Maybe, Maybe, Fail, "thrown anywhere, also after the append"),
    row(0, "NONE", Applied, Applied, Done, "acknowledged"),
    row(2, "CORRUPT_MESSAGE", NotApplied, NotApplied, Retry, "CRC is checked before the append"),
    row(
        3,
        "UNKNOWN_TOPIC_OR_PARTITION",
        NotApplied,
        Maybe,
        RetryElsewhere,
        "also DelayedProduce's answer when the topic is deleted while replication is awaited",
    ),
    row(
        5,
        "LEADER_NOT_AVAILABLE",
        Maybe,
        Maybe,
        RetryElsewhere,
        "not an answer of the produce path: nothing is known",
    ),
    row(
        6,
        "NOT_LEADER_OR_FOLLOWER",
        NotApplied,
        Maybe,
        RetryElsewhere,
        "also DelayedProduce's answer when leadership moves after the append",
    ),
    row(
        7,
        "REQUEST_TIMED_OUT",
        Maybe,
        Maybe,
        Retry,
        "appended by the leader, not yet by all in-sync replicas",
    ),
    row(9, "REPLICA_NOT_AVAILABLE", Maybe, Maybe, RetryElsewhere, "not an answer of the produce path"),
    row(10, "MESSAGE_TOO_LARGE", NotApplied, NotApplied, Fail, "size is checked before the append"),
    row(
        17,
        "INVALID_TOPIC_EXCEPTION",
        NotApplied,
        NotApplied,
        Fail,
        "internal topics are refused before the append",
    ),
    row(
        18,
        "RECORD_LIST_TOO_LARGE",
        NotApplied,
        NotApplied,
        Fail,
        "larger than a segment: checked before the append",
    ),
    row(
        19,
        "NOT_ENOUGH_REPLICAS",
        NotApplied,
        NotApplied,
        Retry,
        "min.insync.replicas is checked before the append",
    ),
    row(20, "NOT_ENOUGH_REPLICAS_AFTER_APPEND", Maybe, Maybe, Retry, "appended; may be truncated"),
    row(21, "INVALID_REQUIRED_ACKS", NotApplied, NotApplied, Fail, "checked before the append"),
    row(29, "TOPIC_AUTHORIZATION_FAILED", NotApplied, NotApplied, Fail, "checked before the append"),
    row(31, "CLUSTER_AUTHORIZATION_FAILED", NotApplied, NotApplied, Fail, "checked before the append"),
    row(32, "INVALID_TIMESTAMP", NotApplied, NotApplied, Fail, "LogValidator, before the append"),
    row(35, "UNSUPPORTED_VERSION", NotApplied, NotApplied, Fail, "the request was not understood"),
    row(42, "INVALID_REQUEST", NotApplied, NotApplied, Fail, "the request was refused as a whole"),
    row(
        43,
        "UNSUPPORTED_FOR_MESSAGE_FORMAT",
        NotApplied,
        NotApplied,
        Fail,
        "LogValidator, before the append",
    ),
    row(44, "POLICY_VIOLATION", NotApplied, NotApplied, Fail, "checked before the append"),
    row(
        45,
        "OUT_OF_ORDER_SEQUENCE_NUMBER",
        NotApplied,
        NotApplied,
        BumpEpoch,
        "ProducerAppendInfo, before the append",
    ),
    row(
        46,
        "DUPLICATE_SEQUENCE_NUMBER",
        Applied,
        Applied,
        Done,
        "an earlier attempt was appended, too long ago for its offset to be known",
    ),
    row(
        47,
        "INVALID_PRODUCER_EPOCH",
        NotApplied,
        NotApplied,
        NewProducerId,
        "ProducerAppendInfo, before the append",
    ),
    row(48, "INVALID_TXN_STATE", NotApplied, NotApplied, Fail, "ProducerAppendInfo, before the append"),
    row(
        49,
        "INVALID_PRODUCER_ID_MAPPING",
        NotApplied,
        NotApplied,
        NewProducerId,
        "checked before the append",
    ),
    row(
        53,
        "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
        NotApplied,
        NotApplied,
        Fail,
        "checked before the append",
    ),
    row(
        56,
        "KAFKA_STORAGE_ERROR",
        Maybe,
        Maybe,
        RetryElsewhere,
        "the append itself failed: any part may be on disk",
    ),
    row(
        59,
        "UNKNOWN_PRODUCER_ID",
        NotApplied,
        NotApplied,
        BumpEpoch,
        "ProducerAppendInfo, before the append",
    ),
    row(74, "FENCED_LEADER_EPOCH", Maybe, Maybe, RetryElsewhere, "not an answer of the produce path"),
    row(75, "UNKNOWN_LEADER_EPOCH", Maybe, Maybe, RetryElsewhere, "not an answer of the produce path"),
    row(76, "UNSUPPORTED_COMPRESSION_TYPE", NotApplied, NotApplied, Fail, "checked before the append"),
    row(87, "INVALID_RECORD", NotApplied, NotApplied, Fail, "LogValidator, before the append"),
    row(89, "THROTTLING_QUOTA_EXCEEDED", Maybe, Maybe, Retry, "not an answer of the produce path"),
    row(90, "PRODUCER_FENCED", NotApplied, NotApplied, NewProducerId, "checked before the append"),
    row(100, "UNKNOWN_TOPIC_ID", NotApplied, Maybe, RetryElsewhere, "as UNKNOWN_TOPIC_OR_PARTITION"),
    row(
        103,
        "INCONSISTENT_TOPIC_ID",
        NotApplied,
        NotApplied,
        RetryElsewhere,
        "the id is compared before the append",
    ),
];

/// The row of a code, if it has one.
pub fn row_of(code: i16) -> Option<&'static Row> {
    TABLE.binary_search_by_key(&code, |row| row.code).ok().map(|at| &TABLE[at])
}

/// What `code` says about an attempt that asked for `acks`. With acks=0 nothing is ever known: whatever has
/// been sent is `Maybe`.
pub fn verdict(code: i16, acks: Acks) -> Verdict {
    let Some(row) = row_of(code) else { return Verdict { outcome: Maybe, next: Fail } };
    let outcome = match acks {
        Acks::None => Maybe,
        Acks::Leader => row.acks_leader,
        Acks::All => row.acks_all,
    };
    Verdict { outcome, next: row.next }
}

/// What is known about an operation after one more attempt. Attempts join: one that was applied makes the
/// operation applied, and one that nobody can judge makes it `Maybe` for good, whatever later attempts say.
pub fn join(so_far: Outcome, attempt: Outcome) -> Outcome {
    match (so_far, attempt) {
        (Applied, _) | (_, Applied) => Applied,
        (Maybe, _) | (_, Maybe) => Maybe,
        (NotApplied, NotApplied) => NotApplied,
    }
}

/// Kafka's name of a code, for messages.
pub fn name_of(code: i16) -> &'static str {
    row_of(code).map_or("an error code outside the outcome table", |row| row.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_sorted_and_every_row_says_why() {
        assert!(TABLE.is_sorted_by(|a, b| a.code < b.code), "binary search needs strictly ascending codes");
        for row in TABLE {
            assert!(!row.why.is_empty() && !row.name.is_empty(), "row {}", row.code);
            assert_eq!(row_of(row.code).map(|found| found.name), Some(row.name));
        }
    }

    #[test]
    fn an_attempt_that_may_have_reached_the_log_is_never_called_not_applied() {
        let after_append_all = [3, 6, 7, 20, 56, 100, -1, CONNECTION_BROKE, REQUEST_TIMED_OUT_AT_CLIENT];
        for code in after_append_all {
            assert_eq!(verdict(code, Acks::All).outcome, Maybe, "{}", name_of(code));
        }
        for code in [7, 20, 56, -1, CONNECTION_BROKE, REQUEST_TIMED_OUT_AT_CLIENT] {
            assert_eq!(verdict(code, Acks::Leader).outcome, Maybe, "{}", name_of(code));
        }
        for code in -10..200 {
            assert_eq!(verdict(code, Acks::None).outcome, Maybe, "acks=0 is never answered: {code}");
        }
    }

    #[test]
    fn an_unknown_code_is_maybe_and_fails() {
        for code in [-7, 1, 99, 12_345, i16::MIN, i16::MAX] {
            assert_eq!(verdict(code, Acks::All), Verdict { outcome: Maybe, next: Fail }, "{code}");
        }
    }

    #[test]
    fn outcomes_join_towards_knowledge_of_an_effect() {
        for attempt in [Applied, NotApplied, Maybe] {
            assert_eq!(join(Applied, attempt), Applied);
            assert_eq!(join(attempt, Applied), Applied);
            assert_eq!(join(NotApplied, attempt), attempt);
        }
        assert_eq!(join(Maybe, NotApplied), Maybe);
        assert_eq!(join(Maybe, Maybe), Maybe);
    }

    #[test]
    fn only_definite_refusals_lead_to_a_new_epoch() {
        for row in TABLE {
            if matches!(row.next, BumpEpoch | NewProducerId) {
                assert_eq!((row.acks_leader, row.acks_all), (NotApplied, NotApplied), "{}", row.name);
            }
            if row.next == Done {
                assert_eq!((row.acks_leader, row.acks_all), (Applied, Applied), "{}", row.name);
            }
        }
    }
}
