//! The one table of APIs. A row here, and a stanza for each direction in `schema/`, is all that an API needs.

use std::fmt;

use bytes::Bytes;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, VersionRange};

macro_rules! apis {
    ($($(#[$doc:meta])* $name:ident = $key:literal, $request:ident, $response:ident, $min:literal..=$max:literal, $scope:ident;)*) => {
        /// An API that this crate can encode and decode.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(i16)]
        pub enum Api { $($(#[$doc])* $name = $key,)* }

        impl Api {
            /// Every API, by key.
            pub const ALL: &'static [Api] = &[$(Api::$name,)*];

            /// The API of a key, or `None`.
            pub const fn from_key(key: i16) -> Option<Api> {
                match key {
                    $($key => Some(Api::$name),)*
                    _ => None,
                }
            }

            /// Kafka's name of the API.
            pub const fn name(self) -> &'static str {
                match self { $(Api::$name => stringify!($name),)* }
            }

            /// The versions that [`crate::decode_request`] accepts.
            pub const fn versions(self) -> VersionRange {
                match self { $(Api::$name => VersionRange { min: $min, max: $max },)* }
            }

            /// Which listeners have it in Kafka. Whether a server has a handler for it is the server's to say.
            pub const fn scope(self) -> Scope {
                match self { $(Api::$name => Scope::$scope,)* }
            }

            pub(crate) fn request_header_version(self, version: i16) -> i16 {
                match self { $(Api::$name => <$request as HeaderVersion>::header_version(version),)* }
            }

            pub(crate) fn response_header_version(self, version: i16) -> i16 {
                match self { $(Api::$name => <$response as HeaderVersion>::header_version(version),)* }
            }
        }

        /// A request of any API.
        #[derive(Clone, PartialEq, Debug)]
        #[non_exhaustive]
        pub enum Request { $($name($request),)* }

        /// A response of any API.
        #[derive(Clone, PartialEq, Debug)]
        #[non_exhaustive]
        pub enum Response { $($name($response),)* }

        impl Request {
            /// The API of this request.
            pub const fn api(&self) -> Api {
                match self { $(Request::$name(_) => Api::$name,)* }
            }

            pub(crate) fn encode(&self, buf: &mut Vec<u8>, version: i16) -> Result<(), BodyError> {
                match self { $(Request::$name(body) => body.encode(buf, version).map_err(BodyError::new),)* }
            }

            /// Decodes a body that the bounds check has passed, and only such a body.
            pub(crate) fn decode(api: Api, version: i16, body: &mut Bytes) -> Result<Request, BodyError> {
                match api {
                    $(Api::$name => $request::decode(body, version).map(Request::$name).map_err(BodyError::new),)*
                }
            }
        }

        impl Response {
            /// The API of this response.
            pub const fn api(&self) -> Api {
                match self { $(Response::$name(_) => Api::$name,)* }
            }

            pub(crate) fn encode(&self, buf: &mut Vec<u8>, version: i16) -> Result<(), BodyError> {
                match self { $(Response::$name(body) => body.encode(buf, version).map_err(BodyError::new),)* }
            }

            /// Decodes a body that the bounds check has passed, and only such a body.
            pub(crate) fn decode(api: Api, version: i16, body: &mut Bytes) -> Result<Response, BodyError> {
                match api {
                    $(Api::$name => $response::decode(body, version).map(Response::$name).map_err(BodyError::new),)*
                }
            }
        }

        $(
            impl From<$request> for Request {
                fn from(body: $request) -> Self { Request::$name(body) }
            }
            impl From<$response> for Response {
                fn from(body: $response) -> Self { Response::$name(body) }
            }
        )*

        #[cfg(test)]
        pub(crate) mod crate_versions {
            use kafka_protocol::protocol::{Message, VersionRange};
            /// What the protocol crate can encode and decode: (request, response).
            pub(crate) fn of(api: super::Api) -> (VersionRange, VersionRange) {
                match api {
                    $(super::Api::$name => (
                        <super::$request as Message>::VERSIONS,
                        <super::$response as Message>::VERSIONS,
                    ),)*
                }
            }
        }
    };
}

apis! {
    Produce = 0, ProduceRequest, ProduceResponse, 3..=11, Broker;
    Fetch = 1, FetchRequest, FetchResponse, 4..=18, Both;
    ListOffsets = 2, ListOffsetsRequest, ListOffsetsResponse, 1..=10, Broker;
    Metadata = 3, MetadataRequest, MetadataResponse, 0..=13, Broker;
    FindCoordinator = 10, FindCoordinatorRequest, FindCoordinatorResponse, 0..=6, Broker;
    ApiVersions = 18, ApiVersionsRequest, ApiVersionsResponse, 0..=4, Both;
    CreateTopics = 19, CreateTopicsRequest, CreateTopicsResponse, 2..=7, Both;
    DeleteTopics = 20, DeleteTopicsRequest, DeleteTopicsResponse, 1..=6, Both;
    DeleteRecords = 21, DeleteRecordsRequest, DeleteRecordsResponse, 0..=2, Broker;
    InitProducerId = 22, InitProducerIdRequest, InitProducerIdResponse, 0..=5, Broker;
    OffsetForLeaderEpoch = 23, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, 2..=4, Broker;
    DescribeConfigs = 32, DescribeConfigsRequest, DescribeConfigsResponse, 1..=4, Both;
    AlterConfigs = 33, AlterConfigsRequest, AlterConfigsResponse, 0..=2, Both;
    DescribeLogDirs = 35, DescribeLogDirsRequest, DescribeLogDirsResponse, 1..=4, Broker;
    CreatePartitions = 37, CreatePartitionsRequest, CreatePartitionsResponse, 0..=3, Both;
    ElectLeaders = 43, ElectLeadersRequest, ElectLeadersResponse, 0..=2, Both;
    IncrementalAlterConfigs = 44, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, 0..=1, Both;
    AlterPartitionReassignments = 45, AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, 0..=1, Both;
    ListPartitionReassignments = 46, ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse, 0..=0, Both;
    Vote = 52, VoteRequest, VoteResponse, 0..=2, Controller;
    BeginQuorumEpoch = 53, BeginQuorumEpochRequest, BeginQuorumEpochResponse, 0..=1, Controller;
    EndQuorumEpoch = 54, EndQuorumEpochRequest, EndQuorumEpochResponse, 0..=1, Controller;
    DescribeQuorum = 55, DescribeQuorumRequest, DescribeQuorumResponse, 0..=2, Both;
    AlterPartition = 56, AlterPartitionRequest, AlterPartitionResponse, 2..=3, Controller;
    UpdateFeatures = 57, UpdateFeaturesRequest, UpdateFeaturesResponse, 0..=2, Both;
    Envelope = 58, EnvelopeRequest, EnvelopeResponse, 0..=0, Controller;
    FetchSnapshot = 59, FetchSnapshotRequest, FetchSnapshotResponse, 0..=1, Controller;
    DescribeCluster = 60, DescribeClusterRequest, DescribeClusterResponse, 0..=2, Both;
    BrokerRegistration = 62, BrokerRegistrationRequest, BrokerRegistrationResponse, 0..=4, Controller;
    BrokerHeartbeat = 63, BrokerHeartbeatRequest, BrokerHeartbeatResponse, 0..=1, Controller;
    UnregisterBroker = 64, UnregisterBrokerRequest, UnregisterBrokerResponse, 0..=0, Both;
    AllocateProducerIds = 67, AllocateProducerIdsRequest, AllocateProducerIdsResponse, 0..=0, Controller;
    ControllerRegistration = 70, ControllerRegistrationRequest, ControllerRegistrationResponse, 0..=0, Controller;
    AssignReplicasToDirs = 73, AssignReplicasToDirsRequest, AssignReplicasToDirsResponse, 0..=0, Controller;
    DescribeTopicPartitions = 75, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, 0..=0, Broker;
    AddRaftVoter = 80, AddRaftVoterRequest, AddRaftVoterResponse, 0..=0, Both;
    RemoveRaftVoter = 81, RemoveRaftVoterRequest, RemoveRaftVoterResponse, 0..=0, Both;
    UpdateRaftVoter = 82, UpdateRaftVoterRequest, UpdateRaftVoterResponse, 0..=0, Controller;
}

impl Api {
    /// The key on the wire.
    pub const fn key(self) -> i16 {
        self as i16
    }
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The kinds of listeners that serve an API: the `listeners` of its message in Kafka.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// Listeners of brokers, for clients and replicas.
    Broker,
    /// Controller listeners, for voters, observers and brokers.
    Controller,
    Both,
}

impl Scope {
    /// Whether a broker's listener has it.
    pub const fn on_broker(self) -> bool {
        matches!(self, Scope::Broker | Scope::Both)
    }

    /// Whether a controller listener has it.
    pub const fn on_controller(self) -> bool {
        matches!(self, Scope::Controller | Scope::Both)
    }
}

/// Why the protocol crate refused a body, as text.
#[derive(Debug)]
pub(crate) struct BodyError(pub(crate) String);

impl BodyError {
    fn new(error: impl fmt::Display) -> Self {
        BodyError(error.to_string().trim().to_owned())
    }
}
