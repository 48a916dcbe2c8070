//! The releases that nodes stand for in simulations of upgrades. What each of them speaks and supports is the broker's
//! business (`burnin_core::Release`).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A release of the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Release {
    /// As Kafka 3.9.
    #[serde(rename = "3.9")]
    V3_9,
    /// As Kafka 4.0.
    #[serde(rename = "4.0")]
    V4_0,
    /// As Kafka 4.1: the latest.
    #[serde(rename = "4.1")]
    V4_1,
}

impl Release {
    /// All of them, the oldest first.
    pub const ALL: [Release; 3] = [Release::V3_9, Release::V4_0, Release::V4_1];

    /// As scenarios write it.
    pub fn name(self) -> &'static str {
        match self {
            Release::V3_9 => "3.9",
            Release::V4_0 => "4.0",
            Release::V4_1 => "4.1",
        }
    }
}
