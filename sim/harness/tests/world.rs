//! Tests as a user writes them: own code in a simulated world, with brokers, machines and faults.

use burnin::World;
use burnin::client::{
    Admin, Client, ClientConfig, Consumer, ConsumerConfig, ConsumerEvent, NewTopic, PartitionRef, Producer,
    ProducerConfig, ProducerEvent, ProducerObserver, RecordRef, StartAt,
};
use burnin::engine::SimRuntime;
use burnin::runtime::{Disk, File, Listener, Net, OpenOptions, Runtime, Stream};
use bytes::Bytes;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Counts what was acknowledged.
#[derive(Default)]
struct Acknowledged(AtomicU64);

impl ProducerObserver for Acknowledged {
    fn on_event(&self, event: ProducerEvent) {
        if let ProducerEvent::Completed { base_offset: Some(_), .. } = event {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn orders(
    world: &World,
    bootstrap: Vec<String>,
    replication_factor: i16,
) -> burnin::Result<(Client<SimRuntime>, PartitionRef)> {
    let config =
        ClientConfig { request_timeout: Duration::from_secs(2), ..ClientConfig::new(bootstrap, "app") };
    let client = Client::connect(world.client("app"), config).await?;
    let topic =
        NewTopic { name: "orders".to_owned(), partitions: 1, replication_factor, configs: Vec::new() };
    Admin::new(&client).create_topic(&topic).await?;
    let partition = client.partition("orders", 0);
    Ok((client, partition))
}

/// Reads a partition from its start until `count` records were seen.
async fn read(client: &Client<SimRuntime>, partition: PartitionRef, count: u64) -> burnin::Result<u64> {
    let consumer = Consumer::new(client, ConsumerConfig::default());
    consumer.seek(partition, StartAt::Earliest);
    let mut seen = 0;
    while seen < count {
        if let ConsumerEvent::Fetched(fetched) = consumer.next().await? {
            fetched.for_each(|_, record| seen += u64::from(record.is_ok()));
        }
    }
    Ok(seen)
}

#[burnin::test(seeds = 8, check_determinism = true)]
async fn acknowledged_records_survive_a_power_loss(world: World) -> burnin::Result {
    let broker = world.broker(&[]).await?;
    let (client, partition) = orders(&world, broker.bootstrap(), 1).await?;
    let acknowledged = Arc::new(Acknowledged::default());
    let producer = Producer::new(&client, ProducerConfig::default(), acknowledged.clone())?;
    for number in 0..50_u64 {
        let record = RecordRef { timestamp: 0, key: None, value: Some(b"an order"), headers: &[] };
        producer.send(partition, number, &[record])?;
        if number == 25 {
            broker.power_loss()?;
            broker.start().await?;
        }
        world.sleep(Duration::from_millis(5)).await;
    }
    producer.flush().await;
    assert_eq!(acknowledged.0.load(Ordering::Relaxed), 50, "the producer retries until it is answered");
    broker.power_loss()?;
    broker.start().await?;
    assert_eq!(read(&client, partition, 50).await?, 50);
    Ok(())
}

#[burnin::test(seeds = 4)]
async fn cluster_loses_its_leader_and_its_controller_and_nothing_else(world: World) -> burnin::Result {
    let properties = [("min.insync.replicas", "2"), ("broker.session.timeout.ms", "3000")];
    let cluster =
        world.cluster(3, &[&properties[..], &[("broker.heartbeat.interval.ms", "500")]].concat()).await?;
    let (client, partition) = orders(&world, cluster.bootstrap(), 3).await?;
    let acknowledged = Arc::new(Acknowledged::default());
    let producer = Producer::new(&client, ProducerConfig::default(), acknowledged.clone())?;
    for number in 0..60_u64 {
        let record = RecordRef { timestamp: 0, key: None, value: Some(b"an order"), headers: &[] };
        producer.send(partition, number, &[record])?;
        let hit = match number {
            20 => cluster.leader("orders", 0).await?,
            40 => cluster.controller().await?,
            _ => continue,
        };
        hit.power_loss()?;
        // Before it comes back, another one leads.
        let other = cluster.leader("orders", 0).await?;
        assert_ne!(hit.id(), other.id());
        hit.start().await?;
        cluster.in_sync("orders").await?;
    }
    producer.flush().await;
    assert_eq!(acknowledged.0.load(Ordering::Relaxed), 60, "the producer retries until it is answered");
    for broker in cluster.brokers() {
        broker.power_loss()?;
    }
    for broker in cluster.brokers() {
        broker.start().await?;
    }
    assert_eq!(read(&client, partition, 60).await?, 60);
    Ok(())
}

#[burnin::test(seeds = 4)]
async fn broker_stops_in_order_and_starts_again(world: World) -> burnin::Result {
    let broker = world.broker(&[("num.partitions", "3")]).await?;
    broker.stop().await?;
    assert!(!broker.is_up());
    assert_eq!(broker.obituary(), None);
    broker.start().await?;
    broker.kill()?;
    assert!(broker.start().await.is_ok() && broker.is_up());
    Ok(())
}

#[burnin::test]
async fn broker_that_cannot_start_says_why(world: World) -> burnin::Result {
    let error = world.broker(&[("num.partitons", "3")]).await.err().expect("a misspelt property");
    assert!(error.to_string().contains("num.partitions"), "{error}");
    Ok(())
}

/// One's own server: answers each byte with the next one.
async fn serve(runtime: SimRuntime) {
    let mut listener =
        runtime.net().listen("10.0.1.1:7".parse().expect("an address")).await.expect("a free port");
    while let Ok((mut stream, _)) = listener.accept().await {
        while let Ok(byte) = stream.read_u8().await {
            if stream.write_u8(byte.wrapping_add(1)).await.is_err() || stream.flush().await.is_err() {
                break;
            }
        }
    }
}

#[burnin::test(seeds = 8)]
async fn own_server_is_partitioned_and_healed(world: World) -> burnin::Result {
    let server = world.node("server", serve);
    let client = world.client("app");
    let mut stream = client.net().connect("10.0.1.1:7".parse()?).await?;
    stream.write_u8(1).await?;
    assert_eq!(stream.read_u8().await?, 2);
    world.sim().net().partition(server, client.node())?;
    stream.write_u8(7).await?;
    let silent = burnin::runtime::timeout(&client, Duration::from_secs(5), stream.read_u8()).await;
    assert!(silent.is_none(), "a cut link delivers nothing: {silent:?}");
    world.sim().net().heal_all();
    assert_eq!(stream.read_u8().await?, 8);
    stream.set_reset_on_drop(true);
    Ok(())
}

/// One's own storage: notes how often it was started, and syncs the note. Tells what it found.
async fn count_starts(runtime: SimRuntime, found: Arc<AtomicU64>) {
    let file = runtime.disk().open(Path::new("/starts"), OpenOptions::CREATE).await.expect("a disk");
    let before = file.read_at(0, 8).await.expect("a disk");
    let before = before.as_ref().try_into().map_or(0, u64::from_be_bytes);
    found.store(before, Ordering::Relaxed);
    file.write_at(0, vec![Bytes::copy_from_slice(&(before + 1).to_be_bytes())]).await.expect("a disk");
    file.sync_data().await.expect("a disk");
    runtime.disk().sync_dir(Path::new("/")).await.expect("a disk");
    std::future::pending::<()>().await;
}

#[burnin::test(seeds = 8)]
async fn what_was_synced_survives_a_power_loss(world: World) -> burnin::Result {
    let found = Arc::new(AtomicU64::new(u64::MAX));
    let shared = found.clone();
    let node = world.node("counter", move |runtime| count_starts(runtime, shared.clone()));
    for starts in 0..5 {
        world.sleep(Duration::from_secs(1)).await;
        assert_eq!(found.load(Ordering::Relaxed), starts);
        world.sim().power_loss(node)?;
        world.sim().start(node)?;
    }
    Ok(())
}
