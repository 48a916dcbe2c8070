//! Selectors: whom a fault hits. Some name a node, some name a role that only the moment of the fault can
//! resolve (`leader(orders/0)`).

use crate::names;
use crate::units::{Leaf, Unit, not_a, unit};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// A partition in a selector; `None` stands for `*`: one is drawn.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartitionRef {
    /// The topic's name.
    pub topic: String,
    /// The partition.
    pub partition: Option<i32>,
}

/// Whom a fault hits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Selector {
    /// `broker(1)`: the broker with this `node.id`.
    Broker(i32),
    /// `any(broker)`: one broker, drawn from the seed.
    AnyBroker,
    /// `all(broker)`, or `brokers`: every broker.
    AllBrokers,
    /// `client(1)`: this client node, counted from 1.
    Client(u32),
    /// `any(client)`: one client node, drawn from the seed.
    AnyClient,
    /// `all(client)`, or `clients`: every client node.
    AllClients,
    /// `controller`: the active controller at that moment.
    Controller,
    /// `leader(orders/0)`: the partition's leader at that moment.
    Leader(PartitionRef),
    /// `follower(orders/0)`: an in-sync replica that does not lead, drawn at that moment.
    Follower(PartitionRef),
    /// `any(voter)`: one of those that vote on metadata, drawn at that moment.
    AnyVoter,
    /// `all(voter)`: all who vote on metadata.
    AllVoters,
    /// `isr(orders/0)`: every in-sync replica at that moment.
    Isr(PartitionRef),
    /// `isr-1(orders/0)`: every in-sync replica but one, drawn at that moment.
    IsrButOne(PartitionRef),
}
unit!(Selector);

/// The forms that exist, for error messages.
pub const FORMS: [&str; 15] = [
    "broker(1)",
    "any(broker)",
    "all(broker)",
    "brokers",
    "client(1)",
    "any(client)",
    "all(client)",
    "clients",
    "controller",
    "any(voter)",
    "all(voter)",
    "leader(TOPIC/0)",
    "follower(TOPIC/0)",
    "isr(TOPIC/0)",
    "isr-1(TOPIC/*)",
];

impl Selector {
    /// Whether it names nodes outright, so that nothing is left to resolve when it fires.
    pub fn is_static(&self) -> bool {
        matches!(
            self,
            Selector::Broker(_)
                | Selector::AnyBroker
                | Selector::AllBrokers
                | Selector::Client(_)
                | Selector::AnyClient
                | Selector::AllClients
        )
    }

    /// Whether it selects clients rather than brokers.
    pub fn is_client(&self) -> bool {
        matches!(self, Selector::Client(_) | Selector::AnyClient | Selector::AllClients)
    }

    /// Whether who it is shows when a fault fires, and may be another one a moment later.
    pub fn is_role(&self) -> bool {
        matches!(self, Selector::Controller | Selector::AnyVoter) || self.partition().is_some()
    }

    /// The partition that it speaks of.
    pub fn partition(&self) -> Option<&PartitionRef> {
        match self {
            Selector::Leader(p) | Selector::Follower(p) | Selector::Isr(p) | Selector::IsrButOne(p) => {
                Some(p)
            }
            _ => None,
        }
    }
}

impl Unit for Selector {
    const FORMAT: &'static str = "selector";
    const TYPES: &'static [&'static str] = &["string"];
    const EXAMPLE: &'static str = "\"any(broker)\", \"broker(1)\" or \"leader(orders/0)\"";

    fn read(leaf: Leaf<'_>) -> Result<Self, String> {
        let Leaf::Text(text) = leaf else { return Err(not_a::<Self>(leaf)) };
        let unknown = || format!("unknown selector `{text}` ({})", names::choices(text, FORMS));
        match text {
            "controller" => return Ok(Selector::Controller),
            "brokers" => return Ok(Selector::AllBrokers),
            "clients" => return Ok(Selector::AllClients),
            _ => {}
        }
        let (role, inside) =
            text.strip_suffix(')').and_then(|text| text.split_once('(')).ok_or_else(unknown)?;
        match (role, inside) {
            ("any", "broker") => Ok(Selector::AnyBroker),
            ("all", "broker") => Ok(Selector::AllBrokers),
            ("any", "voter") => Ok(Selector::AnyVoter),
            ("all", "voter") => Ok(Selector::AllVoters),
            ("any", "client") => Ok(Selector::AnyClient),
            ("all", "client") => Ok(Selector::AllClients),
            ("broker", id) => id
                .parse()
                .map(Selector::Broker)
                .map_err(|_| format!("`{id}` in `{text}` is not a node id (brokers are numbered from 1)")),
            ("client", number) => match number.parse() {
                Ok(number) if number > 0 => Ok(Selector::Client(number)),
                _ => Err(format!("`{number}` in `{text}` is not a client (they are numbered from 1)")),
            },
            ("leader", partition) => read_partition(text, partition).map(Selector::Leader),
            ("follower", partition) => read_partition(text, partition).map(Selector::Follower),
            ("isr", partition) => read_partition(text, partition).map(Selector::Isr),
            ("isr-1", partition) => read_partition(text, partition).map(Selector::IsrButOne),
            _ => Err(unknown()),
        }
    }
}

fn read_partition(whole: &str, text: &str) -> Result<PartitionRef, String> {
    let wrong = || format!("`{text}` in `{whole}` is not a partition (write it like orders/0 or orders/*)");
    let (topic, partition) = text.split_once('/').ok_or_else(wrong)?;
    let partition = match partition {
        "*" => None,
        number => Some(number.parse().ok().filter(|number| *number >= 0).ok_or_else(wrong)?),
    };
    if topic.is_empty() {
        return Err(wrong());
    }
    Ok(PartitionRef { topic: topic.to_owned(), partition })
}

impl fmt::Display for PartitionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.partition {
            Some(partition) => write!(f, "{}/{partition}", self.topic),
            None => write!(f, "{}/*", self.topic),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Selector::Broker(id) => write!(f, "broker({id})"),
            Selector::AnyBroker => f.write_str("any(broker)"),
            Selector::AllBrokers => f.write_str("all(broker)"),
            Selector::Client(number) => write!(f, "client({number})"),
            Selector::AnyClient => f.write_str("any(client)"),
            Selector::AllClients => f.write_str("all(client)"),
            Selector::Controller => f.write_str("controller"),
            Selector::Leader(partition) => write!(f, "leader({partition})"),
            Selector::Follower(partition) => write!(f, "follower({partition})"),
            Selector::AnyVoter => f.write_str("any(voter)"),
            Selector::AllVoters => f.write_str("all(voter)"),
            Selector::Isr(partition) => write!(f, "isr({partition})"),
            Selector::IsrButOne(partition) => write!(f, "isr-1({partition})"),
        }
    }
}
