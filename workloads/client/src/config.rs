//! Settings, by the names that Kafka's clients have for them, with Kafka's defaults.

use crate::backoff::Backoff;
use crate::error::ClientError;
use burnin_history::Acks;
use burnin_wire::batch::Compression;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Settings of a [`crate::Client`].
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// `bootstrap.servers`: one `host:port` or more.
    pub bootstrap: Vec<String>,
    /// `client.id`.
    pub client_id: String,
    /// `request.timeout.ms`: an answer that takes longer breaks the connection.
    pub request_timeout: Duration,
    /// `socket.connection.setup.timeout.ms`: for connecting and for the ApiVersions exchange, each.
    pub connect_timeout: Duration,
    /// `reconnect.backoff.ms` to `reconnect.backoff.max.ms`.
    pub reconnect_backoff: Backoff,
    /// `retry.backoff.ms` to `retry.backoff.max.ms`.
    pub retry_backoff: Backoff,
    /// `metadata.max.age.ms`: metadata is fetched again at least this often.
    pub metadata_max_age: Duration,
    /// How long an admin call may take in all, retries included (`default.api.timeout.ms`).
    pub api_timeout: Duration,
    /// Requests that may wait for an answer on one connection. A producer has its own, lower bound.
    pub in_flight_max: usize,
    /// The largest response that is read (`receive.message.max.bytes` of librdkafka).
    pub response_bytes_max: usize,
    /// Counts the requests that were answered. Clients that are given the same counter are counted together.
    pub answers: Arc<AtomicU64>,
}

impl Default for ClientConfig {
    fn default() -> Self {
        ClientConfig {
            bootstrap: vec!["127.0.0.1:9092".to_owned()],
            client_id: "burnin".to_owned(),
            request_timeout: ms(30_000),
            connect_timeout: ms(10_000),
            reconnect_backoff: Backoff { initial: ms(50), max: ms(1_000) },
            retry_backoff: Backoff { initial: ms(100), max: ms(1_000) },
            metadata_max_age: ms(300_000),
            api_timeout: ms(60_000),
            in_flight_max: 64,
            response_bytes_max: 128 << 20,
            answers: Arc::default(),
        }
    }
}

impl ClientConfig {
    /// Defaults for these brokers.
    pub fn new(bootstrap: impl IntoIterator<Item = impl Into<String>>, client_id: impl Into<String>) -> Self {
        ClientConfig {
            bootstrap: bootstrap.into_iter().map(Into::into).collect(),
            client_id: client_id.into(),
            ..ClientConfig::default()
        }
    }

    pub(crate) fn validate(&self) -> Result<Vec<(String, u16)>, ClientError> {
        let invalid = |what: String| Err(ClientError::InvalidConfig(what));
        if self.bootstrap.is_empty() {
            return invalid("bootstrap.servers is empty (expected one `host:port` or more)".to_owned());
        }
        if self.in_flight_max == 0 {
            return invalid("in_flight_max is 0 (expected 1 or more)".to_owned());
        }
        let mut servers = Vec::new();
        for server in &self.bootstrap {
            let parsed = server.rsplit_once(':').and_then(|(host, port)| {
                let host = host.trim_start_matches('[').trim_end_matches(']');
                (!host.is_empty()).then_some(())?;
                Some((host.to_owned(), port.parse::<u16>().ok().filter(|port| *port != 0)?))
            });
            match parsed {
                Some(server) => servers.push(server),
                None => {
                    return invalid(format!(
                        "bootstrap.servers has `{server}` (expected `host:port`, port 1..65535)"
                    ));
                }
            }
        }
        Ok(servers)
    }
}

/// Settings of a [`crate::Producer`].
#[derive(Clone, Debug)]
pub struct ProducerConfig {
    /// `acks`.
    pub acks: Acks,
    /// `enable.idempotence`: needs acks=all and at most 5 requests in flight.
    pub idempotence: bool,
    /// `compression.type`.
    pub compression: Compression,
    /// `linger.ms`: how long a batch that is not full waits for more.
    pub linger: Duration,
    /// `batch.size` in bytes before compression. What is handed over in one call is never split.
    pub batch_bytes: usize,
    /// `max.request.size` in bytes.
    pub request_bytes_max: usize,
    /// `max.in.flight.requests.per.connection`. Without idempotence a partition has one request in flight at a
    /// time, whatever this says, because a retry would reorder.
    pub in_flight_max: usize,
    /// `delivery.timeout.ms`: from the call to the completion.
    pub delivery_timeout: Duration,
    /// `request.timeout.ms` as the broker is told (how long it may wait for replicas); the client's own is the
    /// one of its [`ClientConfig`].
    pub broker_timeout: Duration,
    /// `retries` after the first attempt.
    pub retries: u32,
    /// `buffer.memory` in bytes: what may wait in the producer in all.
    pub buffer_bytes: usize,
}

impl Default for ProducerConfig {
    fn default() -> Self {
        ProducerConfig {
            acks: Acks::All,
            idempotence: true,
            compression: Compression::None,
            linger: Duration::ZERO,
            batch_bytes: 16_384,
            request_bytes_max: 1_048_576,
            in_flight_max: 5,
            delivery_timeout: ms(120_000),
            broker_timeout: ms(30_000),
            retries: u32::MAX,
            buffer_bytes: 32 << 20,
        }
    }
}

impl ProducerConfig {
    pub(crate) fn validate(&self) -> Result<(), ClientError> {
        let invalid = |what: String| Err(ClientError::InvalidConfig(what));
        if self.in_flight_max == 0 {
            return invalid("max.in.flight.requests.per.connection is 0 (expected 1 or more)".to_owned());
        }
        if self.idempotence && self.acks != Acks::All {
            return invalid(format!("enable.idempotence needs acks=all, but acks is {:?}", self.acks));
        }
        if self.idempotence && self.in_flight_max > 5 {
            return invalid(format!(
                "enable.idempotence needs max.in.flight.requests.per.connection of 1..5, but it is {}",
                self.in_flight_max
            ));
        }
        if self.delivery_timeout < self.linger {
            return invalid(format!(
                "delivery.timeout.ms ({} ms) is shorter than linger.ms ({} ms)",
                self.delivery_timeout.as_millis(),
                self.linger.as_millis()
            ));
        }
        Ok(())
    }
}

/// What a consumer does when the offset that it wants does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetReset {
    /// Go to the log start.
    Earliest,
    /// Go to the end.
    Latest,
    /// Report it and stop reading the partition until the next seek.
    None,
}

/// Settings of a [`crate::Consumer`].
#[derive(Clone, Debug)]
pub struct ConsumerConfig {
    /// `auto.offset.reset`.
    pub offset_reset: OffsetReset,
    /// `fetch.min.bytes`.
    pub min_bytes: i32,
    /// `fetch.max.bytes`.
    pub max_bytes: i32,
    /// `max.partition.fetch.bytes`.
    pub partition_max_bytes: i32,
    /// `fetch.max.wait.ms`.
    pub max_wait: Duration,
    /// Whether incremental fetch sessions (KIP-227) are used.
    pub sessions: bool,
    /// Whether the log's history is checked by leader epoch when the leader changes (KIP-320).
    pub truncation_detection: bool,
    /// `check.crcs`.
    pub check_crcs: bool,
}

impl Default for ConsumerConfig {
    fn default() -> Self {
        ConsumerConfig {
            offset_reset: OffsetReset::None,
            min_bytes: 1,
            max_bytes: 50 << 20,
            partition_max_bytes: 1 << 20,
            max_wait: ms(500),
            sessions: true,
            truncation_detection: true,
            check_crcs: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bootstrap_servers_are_host_and_port() {
        let config = ClientConfig::new(["broker-1:9092", "10.0.0.2:19092", "[::1]:9092"], "t");
        let parsed = config.validate().expect("valid");
        assert_eq!(parsed[0], ("broker-1".to_owned(), 9092));
        assert_eq!(parsed[2], ("::1".to_owned(), 9092));
        for bad in ["broker", "broker:", ":9092", "broker:0", "broker:70000"] {
            let error = ClientConfig::new([bad], "t").validate().expect_err(bad);
            assert!(error.to_string().contains(bad), "{error}");
        }
        assert!(ClientConfig::new(Vec::<String>::new(), "t").validate().is_err());
    }

    #[test]
    fn idempotence_needs_acks_all_and_five_in_flight() {
        let config = ProducerConfig { acks: Acks::Leader, ..ProducerConfig::default() };
        assert!(config.validate().expect_err("acks").to_string().contains("acks=all"));
        let config = ProducerConfig { in_flight_max: 6, ..ProducerConfig::default() };
        assert!(config.validate().expect_err("in flight").to_string().contains("1..5"));
        assert!(ProducerConfig { idempotence: false, ..config }.validate().is_ok());
    }
}
