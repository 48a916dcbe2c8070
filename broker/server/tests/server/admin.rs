//! Topics, configurations and what tools ask: the admin path, on the simulator and on tokio.

use crate::common::Env;
use crate::common::peer::Peer;
use crate::common::requests::*;
use burnin_runtime::Runtime;
use burnin_wire::ErrorCode;
use burnin_wire::kafka::messages::create_partitions_request::{
    CreatePartitionsRequest, CreatePartitionsTopic,
};
use burnin_wire::kafka::messages::create_topics_request::CreatableReplicaAssignment;
use burnin_wire::kafka::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use burnin_wire::kafka::messages::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
use burnin_wire::kafka::messages::describe_configs_request::{
    DescribeConfigsRequest, DescribeConfigsResource,
};
use burnin_wire::kafka::messages::describe_log_dirs_request::{
    DescribableLogDirTopic, DescribeLogDirsRequest,
};
use burnin_wire::kafka::messages::describe_log_dirs_response::DescribeLogDirsTopic;
use burnin_wire::kafka::messages::describe_topic_partitions_request::{
    Cursor, DescribeTopicPartitionsRequest, TopicRequest,
};
use burnin_wire::kafka::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use burnin_wire::kafka::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use burnin_wire::kafka::messages::metadata_response::MetadataResponseTopic;
use burnin_wire::kafka::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use burnin_wire::kafka::messages::{
    ApiVersionsRequest, BrokerId, DescribeClusterRequest, FindCoordinatorRequest,
};

fn of_topic(topic: &str) -> MetadataRequest {
    let topic = MetadataRequestTopic::default().with_name(Some(name(topic)));
    MetadataRequest::default().with_topics(Some(vec![topic])).with_allow_auto_topic_creation(false)
}

async fn described<R: Runtime>(peer: &mut Peer<R>, topic: &str) -> MetadataResponseTopic {
    call!(peer, Metadata v 12, of_topic(topic)).topics.remove(0)
}

async fn created<R: Runtime>(peer: &mut Peer<R>, topic: &str, partitions: i32) {
    let response = call!(peer, CreateTopics v 7, create(topic, partitions, &[]));
    assert_eq!(response.topics[0].error_code, 0, "{:?}", response.topics[0].error_message);
}

async fn metadata_tells_topics_by_name_by_id_and_all<R: Runtime>(env: Env<R>) {
    let mut peer = env.peer().await;
    created(&mut peer, "b", 3).await;
    created(&mut peer, "a", 1).await;
    let topic = described(&mut peer, "b").await;
    assert_eq!((topic.error_code, topic.partitions.len()), (0, 3));
    assert_eq!((topic.partitions[0].leader_id, topic.partitions[0].leader_epoch), (BrokerId(1), 0));
    assert!(!topic.topic_id.is_nil());
    let by_id = |id| {
        MetadataRequest::default()
            .with_topics(Some(vec![MetadataRequestTopic::default().with_topic_id(id).with_name(None)]))
    };
    let same = call!(peer, Metadata v 12, by_id(topic.topic_id)).topics.remove(0);
    assert_eq!(same, topic);
    let unknown = call!(peer, Metadata v 12, by_id(uuid::Uuid::from_u128(5))).topics.remove(0);
    assert_eq!((ErrorCode(unknown.error_code), unknown.name), (ErrorCode::UNKNOWN_TOPIC_ID, None));
    let all = call!(peer, Metadata v 9, MetadataRequest::default().with_topics(None));
    let names: Vec<_> = all.topics.iter().map(|topic| topic.name.as_ref().unwrap().0.to_string()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(call!(peer, Metadata v 9, MetadataRequest::default().with_topics(Some(vec![]))).topics, []);
    assert_eq!(
        call!(peer, Metadata v 0, MetadataRequest::default().with_topics(Some(vec![]))).topics.len(),
        2
    );
    let broker = &all.brokers[0];
    assert_eq!(
        (broker.node_id, &*broker.host, broker.port),
        (BrokerId(1), &*env.address().ip().to_string(), i32::from(env.address().port()))
    );
    assert_eq!(all.cluster_id.as_deref(), Some(env.broker.cluster_id()));
    assert_eq!(all.controller_id, BrokerId(1));
}

async fn topics_are_created_on_demand_when_both_sides_want_it<R: Runtime>(env: Env<R>) {
    let mut peer = env.peer().await;
    assert_eq!(ErrorCode(described(&mut peer, "t").await.error_code), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    let wanted = |topic| of_topic(topic).with_allow_auto_topic_creation(true);
    let topic = call!(peer, Metadata v 12, wanted("t")).topics.remove(0);
    assert_eq!((topic.error_code, topic.partitions.len()), (0, 2), "num.partitions=2");
    for refused in ["bad name", "t.x", "t_x"].map(wanted) {
        let topic = call!(peer, Metadata v 12, refused).topics.remove(0);
        let code = ErrorCode(topic.error_code);
        assert!(
            [ErrorCode::NONE, ErrorCode::INVALID_TOPIC_EXCEPTION, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION]
                .contains(&code)
        );
    }
    assert_eq!(described(&mut peer, "t.x").await.error_code, 0);
    assert_ne!(described(&mut peer, "t_x").await.error_code, 0, "it collides with t.x");
}

async fn impossible_topics_are_refused<R: Runtime>(env: Env<R>) {
    let mut peer = env.peer().await;
    created(&mut peer, "t", 1).await;
    let mut three = create("r", 1, &[]);
    three.topics[0].replication_factor = 3;
    let mut both = create("r", 1, &[]);
    let assigned = |index, brokers: &[i32]| {
        CreatableReplicaAssignment::default()
            .with_partition_index(index)
            .with_broker_ids(brokers.iter().map(|id| BrokerId(*id)).collect())
    };
    both.topics[0].assignments = vec![assigned(0, &[1])];
    let with = |assignments| {
        let mut request = both.clone();
        (request.topics[0].num_partitions, request.topics[0].replication_factor) = (-1, -1);
        request.topics[0].assignments = assignments;
        request
    };
    let cases = [
        (create("t", 1, &[]), ErrorCode::TOPIC_ALREADY_EXISTS),
        (create("", 1, &[]), ErrorCode::INVALID_TOPIC_EXCEPTION),
        (create("__cluster_metadata", 1, &[]), ErrorCode::INVALID_REQUEST),
        (create("n", 0, &[]), ErrorCode::INVALID_PARTITIONS),
        (three, ErrorCode::INVALID_REPLICATION_FACTOR),
        (create("n", 1, &[("nonsense", "1")]), ErrorCode::INVALID_CONFIG),
        (create("n", 1, &[("retention.ms", "long")]), ErrorCode::INVALID_CONFIG),
        (both.clone(), ErrorCode::INVALID_REQUEST),
        (with(vec![assigned(0, &[2])]), ErrorCode::INVALID_REPLICA_ASSIGNMENT),
        (with(vec![assigned(1, &[1])]), ErrorCode::INVALID_REPLICA_ASSIGNMENT),
        (with(vec![assigned(0, &[1]), assigned(0, &[1])]), ErrorCode::INVALID_REPLICA_ASSIGNMENT),
        (with(vec![assigned(0, &[1, 1])]), ErrorCode::INVALID_REPLICA_ASSIGNMENT),
    ];
    for (request, wanted) in cases {
        let answer = call!(peer, CreateTopics v 7, request).topics.remove(0);
        assert_eq!(ErrorCode(answer.error_code), wanted, "{:?}", answer.error_message);
        assert!(answer.error_message.is_some());
    }
    let mut twice = create("d", 1, &[]);
    twice.topics.push(twice.topics[0].clone());
    let answers = call!(peer, CreateTopics v 7, twice).topics;
    assert!(answers.iter().all(|answer| ErrorCode(answer.error_code) == ErrorCode::INVALID_REQUEST));
    let valid = call!(peer, CreateTopics v 7, with(vec![assigned(1, &[1]), assigned(0, &[1])]).with_validate_only(true));
    assert_eq!((valid.topics[0].error_code, valid.topics[0].num_partitions), (0, 2));
    let none = call!(peer, Metadata v 9, MetadataRequest::default().with_topics(None));
    assert_eq!(none.topics.len(), 1, "nothing but t exists");
}

async fn deleted_topics_are_gone_and_can_be_created_again<R: Runtime>(env: Env<R>) {
    let mut peer = env.peer().await;
    created(&mut peer, "t", 2).await;
    let old = described(&mut peer, "t").await.topic_id;
    call!(peer, Produce v 9, produce("t", 0, 1, batch(&["old"])));
    let mut reader = env.peer().await;
    let waiting = reader.send(12, fetch("t", 0, 1).with_max_wait_ms(30_000)).await;
    let by_id = |id| {
        DeleteTopicsRequest::default()
            .with_topics(vec![DeleteTopicState::default().with_name(None).with_topic_id(id)])
    };
    let gone = call!(peer, DeleteTopics v 6, by_id(old)).responses.remove(0);
    assert_eq!((gone.error_code, gone.name), (0, Some(name("t"))));
    let burnin_wire::Response::Fetch(told) = reader.receive(waiting, burnin_wire::Api::Fetch, 12).await
    else {
        panic!()
    };
    assert_eq!(ErrorCode(told.responses[0].partitions[0].error_code), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    let again = call!(peer, DeleteTopics v 6, by_id(old)).responses.remove(0);
    assert_eq!(ErrorCode(again.error_code), ErrorCode::UNKNOWN_TOPIC_ID);
    let by_name =
        call!(peer, DeleteTopics v 4, DeleteTopicsRequest::default().with_topic_names(vec![name("t")]));
    assert_eq!(ErrorCode(by_name.responses[0].error_code), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);

    created(&mut peer, "t", 1).await;
    assert_ne!(described(&mut peer, "t").await.topic_id, old);
    let response = call!(peer, Produce v 9, produce("t", 0, 1, batch(&["new"])));
    assert_eq!(response.responses[0].partition_responses[0].base_offset, 0);
    let env = env.restart().await;
    let mut peer = env.peer().await;
    let data = call!(peer, Fetch v 12, fetch("t", 0, 0)).responses.remove(0).partitions.remove(0);
    assert_eq!(values(&data), [(0, "new".to_owned())], "after a restart");
}

async fn partitions_only_grow<R: Runtime>(env: Env<R>) {
    let mut peer = env.peer().await;
    created(&mut peer, "t", 2).await;
    let grow = |topic: &str, count| {
        let topic =
            CreatePartitionsTopic::default().with_name(name(topic)).with_count(count).with_assignments(None);
        CreatePartitionsRequest::default().with_topics(vec![topic]).with_timeout_ms(1000)
    };
    for (request, wanted) in [
        (grow("t", 2), ErrorCode::INVALID_PARTITIONS),
        (grow("t", 1), ErrorCode::INVALID_PARTITIONS),
        (grow("nowhere", 5), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        (grow("t", 9).with_validate_only(true), ErrorCode::NONE),
        (grow("t", 4), ErrorCode::NONE),
    ] {
        let answer = call!(peer, CreatePartitions v 3, request).results.remove(0);
        assert_eq!(ErrorCode(answer.error_code), wanted, "{:?}", answer.error_message);
    }
    assert_eq!(described(&mut peer, "t").await.partitions.len(), 4);
    let answer = call!(peer, Produce v 9, produce("t", 3, 1, batch(&["a"])));
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
}

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

fn altered(
    kind: i8,
    resource: &str,
    property: &str,
    op: i8,
    value: Option<&str>,
) -> IncrementalAlterConfigsRequest {
    let config = AlterableConfig::default()
        .with_name(text(property))
        .with_config_operation(op)
        .with_value(value.map(text));
    let resource = AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(resource))
        .with_configs(vec![config]);
    IncrementalAlterConfigsRequest::default().with_resources(vec![resource])
}

async fn shown<R: Runtime>(
    peer: &mut Peer<R>,
    kind: i8,
    resource: &str,
    property: &str,
) -> (Option<String>, i8, Vec<(String, i8)>) {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(resource))
        .with_configuration_keys(Some(vec![text(property)]));
    let request = DescribeConfigsRequest::default()
        .with_resources(vec![resource])
        .with_include_synonyms(true)
        .with_include_documentation(true);
    let mut result = call!(peer, DescribeConfigs v 4, request).results.remove(0);
    assert_eq!(result.error_code, 0, "{:?}", result.error_message);
    let config = result.configs.remove(0);
    assert!(config.documentation.is_some_and(|doc| !doc.is_empty()) && config.config_type > 0);
    let synonyms = config.synonyms.iter().map(|s| (s.name.to_string(), s.source)).collect();
    (config.value.map(|value| value.to_string()), config.config_source, synonyms)
}

async fn configurations_are_described_changed_and_obeyed<R: Runtime>(env: Env<R>) {
    let mut peer = env.peer().await;
    created(&mut peer, "t", 1).await;
    let (value, source, synonyms) = shown(&mut peer, TOPIC, "t", "retention.ms").await;
    assert_eq!((value.as_deref(), source), (Some("604800000"), 5));
    assert_eq!(synonyms, [("log.retention.hours".to_owned(), 5)]);
    let big = "x".repeat(500);
    let fits = async |peer: &mut Peer<R>| {
        let answer = call!(peer, Produce v 9, produce("t", 0, 1, batch(&[&big])));
        answer.responses[0].partition_responses[0].error_code == 0
    };
    assert!(fits(&mut peer).await);
    let alter = async |peer: &mut Peer<R>, request| {
        let answer = call!(peer, IncrementalAlterConfigs v 1, request).responses.remove(0);
        (ErrorCode(answer.error_code), answer.error_message.map(|m| m.to_string()).unwrap_or_default())
    };
    // The broker's value is a default of the topic's, which has the last word.
    assert_eq!(
        alter(&mut peer, altered(BROKER, "", "message.max.bytes", 0, Some("100"))).await.0,
        ErrorCode::NONE
    );
    assert!(!fits(&mut peer).await);
    assert_eq!(
        alter(&mut peer, altered(TOPIC, "t", "max.message.bytes", 0, Some("1000"))).await.0,
        ErrorCode::NONE
    );
    assert!(fits(&mut peer).await);
    let (value, source, synonyms) = shown(&mut peer, TOPIC, "t", "max.message.bytes").await;
    assert_eq!((value.as_deref(), source), (Some("1000"), 1));
    let wanted = [("max.message.bytes", 1), ("message.max.bytes", 3), ("message.max.bytes", 5)];
    assert_eq!(synonyms, wanted.map(|(name, source)| (name.to_owned(), source)));
    assert_eq!(alter(&mut peer, altered(TOPIC, "t", "max.message.bytes", 1, None)).await.0, ErrorCode::NONE);
    assert!(!fits(&mut peer).await);
    assert_eq!(alter(&mut peer, altered(BROKER, "", "message.max.bytes", 1, None)).await.0, ErrorCode::NONE);
    assert!(fits(&mut peer).await);
    assert_eq!(
        alter(&mut peer, altered(TOPIC, "t", "cleanup.policy", 2, Some("compact"))).await.0,
        ErrorCode::NONE
    );
    assert_eq!(shown(&mut peer, TOPIC, "t", "cleanup.policy").await.0.as_deref(), Some("delete,compact"));
    for (request, wanted, hint) in [
        (altered(TOPIC, "t", "retention.m", 0, Some("1")), ErrorCode::INVALID_CONFIG, "retention.ms"),
        (altered(TOPIC, "t", "retention.ms", 0, Some("x")), ErrorCode::INVALID_CONFIG, "`x`"),
        (altered(TOPIC, "t", "retention.ms", 2, Some("1")), ErrorCode::INVALID_CONFIG, "LIST"),
        (
            altered(TOPIC, "nowhere", "retention.ms", 0, Some("1")),
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            "nowhere",
        ),
        (altered(BROKER, "1", "node.id", 0, Some("1")), ErrorCode::INVALID_REQUEST, "dynamically"),
        (altered(BROKER, "7", "message.max.bytes", 0, Some("1")), ErrorCode::INVALID_REQUEST, "7"),
        (altered(16, "x", "y", 0, Some("1")), ErrorCode::INVALID_REQUEST, "known: 2 topic"),
    ] {
        let (code, message) = alter(&mut peer, request).await;
        assert_eq!(code, wanted, "{message}");
        assert!(message.contains(hint), "{message}");
    }
    assert_eq!(
        alter(&mut peer, altered(BROKER, "1", "log.retention.ms", 0, Some("5000"))).await.0,
        ErrorCode::NONE
    );
    let env = env.restart().await;
    let mut peer = env.peer().await;
    let (value, source, _) = shown(&mut peer, BROKER, "1", "log.retention.ms").await;
    assert_eq!((value.as_deref(), source), (Some("5000"), 2), "after a restart");
    assert_eq!(shown(&mut peer, TOPIC, "t", "retention.ms").await.0.as_deref(), Some("5000"));
}

async fn records_are_deleted_up_to_an_offset<R: Runtime>(env: Env<R>) {
    let mut peer = env.peer().await;
    created(&mut peer, "t", 1).await;
    call!(peer, Produce v 9, produce("t", 0, 1, batch(&["a", "b", "c"])));
    let before = |offset| {
        let partition = DeleteRecordsPartition::default().with_partition_index(0).with_offset(offset);
        let topic = DeleteRecordsTopic::default().with_name(name("t")).with_partitions(vec![partition]);
        DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(1000)
    };
    let mut delete = async |offset| {
        let answer = call!(peer, DeleteRecords v 2, before(offset)).topics.remove(0).partitions.remove(0);
        (ErrorCode(answer.error_code), answer.low_watermark)
    };
    assert_eq!(delete(2).await, (ErrorCode::NONE, 2));
    assert_eq!(delete(4).await, (ErrorCode::OFFSET_OUT_OF_RANGE, -1));
    assert_eq!(delete(-1).await, (ErrorCode::NONE, 3));
    let env = env.restart().await;
    let mut peer = env.peer().await;
    let earliest = call!(peer, ListOffsets v 5, list_offsets("t", 0, -2));
    assert_eq!(earliest.topics[0].partitions[0].offset, 3, "after a restart");
}

async fn leader_epochs_tell_where_they_ended<R: Runtime>(env: Env<R>) {
    let mut peer = env.peer().await;
    created(&mut peer, "t", 1).await;
    call!(peer, Produce v 9, produce("t", 0, 1, batch(&["a", "b"])));
    let request = |current, epoch| {
        let partition = OffsetForLeaderPartition::default()
            .with_partition(0)
            .with_current_leader_epoch(current)
            .with_leader_epoch(epoch);
        let topic = OffsetForLeaderTopic::default().with_topic(name("t")).with_partitions(vec![partition]);
        OffsetForLeaderEpochRequest::default().with_topics(vec![topic])
    };
    let mut ask = async |current, epoch| {
        let answer = call!(peer, OffsetForLeaderEpoch v 4, request(current, epoch))
            .topics
            .remove(0)
            .partitions
            .remove(0);
        (ErrorCode(answer.error_code), answer.leader_epoch, answer.end_offset)
    };
    assert_eq!(ask(0, 0).await, (ErrorCode::NONE, 0, 2));
    assert_eq!(ask(-1, 3).await, (ErrorCode::NONE, -1, -1));
    assert_eq!(ask(3, 0).await, (ErrorCode::UNKNOWN_LEADER_EPOCH, -1, -1));
}

async fn descriptions_come_in_pages<R: Runtime>(env: Env<R>) {
    let mut peer = env.peer().await;
    created(&mut peer, "a", 3).await;
    created(&mut peer, "b", 2).await;
    let request = |limit, cursor: Option<(&str, i32)>| {
        let topics = ["b", "a", "zzz"].map(|topic| TopicRequest::default().with_name(name(topic)));
        let cursor = cursor.map(|(topic, partition)| {
            Cursor::default().with_topic_name(name(topic)).with_partition_index(partition)
        });
        DescribeTopicPartitionsRequest::default()
            .with_topics(topics.into())
            .with_response_partition_limit(limit)
            .with_cursor(cursor)
    };
    let first = call!(peer, DescribeTopicPartitions v 0, request(2, None));
    assert_eq!(first.topics[0].partitions.len(), 2);
    let cursor = first.next_cursor.unwrap();
    assert_eq!((&*cursor.topic_name.0, cursor.partition_index), ("a", 2));
    let rest = call!(peer, DescribeTopicPartitions v 0, request(100, Some(("a", 2))));
    let counts: Vec<_> = rest.topics.iter().map(|topic| (topic.error_code, topic.partitions.len())).collect();
    assert_eq!(counts, [(0, 1), (0, 2), (3, 0)]);
    assert_eq!(rest.next_cursor, None);
}

async fn what_is_not_there_yet_says_so<R: Runtime>(env: Env<R>) {
    let mut peer = env.peer().await;
    let group = FindCoordinatorRequest::default().with_coordinator_keys(vec![text("g")]);
    let answer = call!(peer, FindCoordinator v 4, group).coordinators.remove(0);
    assert_eq!(ErrorCode(answer.error_code), ErrorCode::COORDINATOR_NOT_AVAILABLE);
    assert!(answer.error_message.unwrap().contains("not supported yet"));
    let cluster = call!(peer, DescribeCluster v 1, DescribeClusterRequest::default().with_endpoint_type(1));
    assert_eq!((cluster.error_code, cluster.brokers.len()), (0, 1));
    let controllers =
        call!(peer, DescribeCluster v 1, DescribeClusterRequest::default().with_endpoint_type(2));
    assert_eq!(ErrorCode(controllers.error_code), ErrorCode::MISMATCHED_ENDPOINT_TYPE);
}

async fn api_versions_are_negotiated<R: Runtime>(env: Env<R>) {
    let mut peer = env.peer().await;
    // Version 99: header 2, an empty body.
    peer.send_bytes(&[0, 0, 0, 12, 0, 18, 0, 99, 0, 0, 0, 7, 0xff, 0xff, 0, 0]).await;
    let frame = peer.frame().await.unwrap();
    let burnin_wire::Response::ApiVersions(answer) =
        burnin_wire::decode_response(burnin_wire::Api::ApiVersions, 0, frame).unwrap()
    else {
        panic!()
    };
    assert_eq!(ErrorCode(answer.error_code), ErrorCode::UNSUPPORTED_VERSION);
    let named = |name: &str| {
        ApiVersionsRequest::default()
            .with_client_software_name(text(name))
            .with_client_software_version(text("1.0"))
    };
    let answer = call!(peer, ApiVersions v 3, named("peer"));
    assert_eq!(answer.error_code, 0);
    assert!(answer.api_keys.iter().any(|key| key.api_key == 0 && key.min_version == 0), "KAFKA-18659");
    assert!(answer.finalized_features.iter().any(|feature| &*feature.name == "metadata.version"));
    assert!(answer.finalized_features_epoch >= 0 && answer.supported_features[0].min_version >= 1);
    assert_eq!(
        ErrorCode(call!(peer, ApiVersions v 4, named("not a name!")).error_code),
        ErrorCode::INVALID_REQUEST
    );
}

async fn log_directories_are_described<R: Runtime>(env: Env<R>) {
    let mut peer = env.peer().await;
    created(&mut peer, "a", 2).await;
    created(&mut peer, "b", 1).await;
    let sent = batch(&["1", "2", "3"]);
    let size = sent.len() as i64;
    call!(peer, Produce v 9, produce("a", 1, 1, sent));
    let all = DescribeLogDirsRequest::default().with_topics(None);
    let answer = call!(peer, DescribeLogDirs v 4, all);
    assert_eq!((answer.error_code, answer.results.len()), (0, 1));
    let dir = &answer.results[0];
    assert_eq!((dir.error_code, dir.total_bytes, dir.usable_bytes), (0, -1, -1));
    assert!(!dir.log_dir.is_empty());
    let sizes = |topics: &[DescribeLogDirsTopic]| {
        let mut sizes = Vec::new();
        for topic in topics {
            for partition in &topic.partitions {
                assert_eq!((partition.offset_lag, partition.is_future_key), (0, false));
                sizes.push((topic.name.0.to_string(), partition.partition_index, partition.partition_size));
            }
        }
        sizes
    };
    let expected = [("a".to_owned(), 0, 0), ("a".to_owned(), 1, size), ("b".to_owned(), 0, 0)];
    assert_eq!(sizes(&dir.topics), expected, "and no metadata log");
    let some = DescribableLogDirTopic::default().with_topic(name("a")).with_partitions(vec![1, 7]);
    let gone = DescribableLogDirTopic::default().with_topic(name("gone")).with_partitions(vec![0]);
    let some = DescribeLogDirsRequest::default().with_topics(Some(vec![some, gone]));
    let answer = call!(peer, DescribeLogDirs v 1, some);
    assert_eq!(sizes(&answer.results[0].topics), expected[1..2]);
}

both! {
    metadata_tells_topics_by_name_by_id_and_all: "";
    topics_are_created_on_demand_when_both_sides_want_it: "num.partitions=2";
    impossible_topics_are_refused: "";
    deleted_topics_are_gone_and_can_be_created_again: "";
    partitions_only_grow: "";
    configurations_are_described_changed_and_obeyed: "";
    records_are_deleted_up_to_an_offset: "";
    leader_epochs_tell_where_they_ended: "";
    descriptions_come_in_pages: "";
    log_directories_are_described: "";
    what_is_not_there_yet_says_so: "";
    api_versions_are_negotiated: "";
}
