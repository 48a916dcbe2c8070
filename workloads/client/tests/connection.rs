//! How connections are made, agreed on, given up and made again, against peers that read a script.

use burnin_client::{Backoff, Client, ClientConfig, ClientError};
use burnin_engine::{NodeSpec, Sim, SimConfig, SimHandle, SimRuntime};
use burnin_runtime::{Instant, Listener, Net, Runtime, Task};
use burnin_wire::kafka::messages::api_versions_response::ApiVersion;
use burnin_wire::kafka::messages::metadata_response::MetadataResponseBroker;
use burnin_wire::kafka::messages::{ApiVersionsResponse, BrokerId, MetadataResponse};
use burnin_wire::{Api, Request, RequestHeader, Response, StrBytes, decode_request, encode_response};
use bytes::{Buf, Bytes, BytesMut};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What a peer does with a request: the bytes to answer with, or the end of the connection.
type Script = Arc<dyn Fn(usize, &RequestHeader, &Request) -> Reaction + Send + Sync>;

enum Reaction {
    Answer,
    Bytes(Vec<u8>),
    Nothing,
    Close,
}

/// When connections were accepted, and which requests came.
#[derive(Default)]
struct Seen {
    accepted: Vec<Instant>,
    requests: Vec<(Instant, Api, i16)>,
}

const PORT: u16 = 9092;

fn peer(handle: &SimHandle, id: u8, script: Script) -> Arc<Mutex<Seen>> {
    let seen: Arc<Mutex<Seen>> = Arc::default();
    let shared = seen.clone();
    let spec = NodeSpec::new(format!("broker-{id}"), [10, 0, 0, id]).start(move |runtime: SimRuntime| {
        let (seen, script) = (shared.clone(), script.clone());
        async move {
            let mut listener = runtime.net().listen(([10, 0, 0, id], PORT).into()).await.expect("binds");
            loop {
                let (stream, _) = listener.accept().await.expect("accepts");
                let number = {
                    let mut seen = seen.lock();
                    seen.accepted.push(runtime.now());
                    seen.accepted.len()
                };
                let serving = serve(runtime.clone(), stream, id, number, seen.clone(), script.clone());
                runtime.spawn("peer", serving).detach();
            }
        }
    });
    let node = handle.add_node(spec);
    handle.start(node).expect("starts");
    seen
}

async fn serve(
    runtime: SimRuntime,
    mut stream: <<SimRuntime as Runtime>::Net as Net>::Stream,
    id: u8,
    number: usize,
    seen: Arc<Mutex<Seen>>,
    script: Script,
) {
    let mut incoming = BytesMut::new();
    loop {
        while incoming.len() < 4
            || incoming.len() < 4 + i32::from_be_bytes(*incoming.first_chunk().unwrap()) as usize
        {
            match stream.read_buf(&mut incoming).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
        let length = incoming.get_i32() as usize;
        let (header, request) = decode_request(incoming.split_to(length).freeze()).expect("a request");
        seen.lock().requests.push((runtime.now(), header.api, header.version));
        let bytes = match script(number, &header, &request) {
            Reaction::Answer => encode_response(&header, &answer(id, &request)).into_bytes(),
            Reaction::Bytes(bytes) => Bytes::from(bytes),
            Reaction::Nothing => continue,
            Reaction::Close => return,
        };
        if stream.write_all(&bytes).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

fn answer(id: u8, request: &Request) -> Response {
    match request {
        Request::ApiVersions(_) => {
            let keys = Api::ALL.iter().map(|api| {
                let range = api.versions();
                ApiVersion::default()
                    .with_api_key(api.key())
                    .with_min_version(range.min)
                    .with_max_version(range.max)
            });
            Response::ApiVersions(ApiVersionsResponse::default().with_api_keys(keys.collect()))
        }
        Request::Metadata(_) => {
            let broker = MetadataResponseBroker::default()
                .with_node_id(BrokerId(id.into()))
                .with_host(StrBytes::from_string(format!("broker-{id}")))
                .with_port(PORT.into());
            Response::Metadata(MetadataResponse::default().with_brokers(vec![broker]))
        }
        other => panic!("no {} in these scripts", other.api()),
    }
}

/// Runs `test` with a client node; the client knows broker-1 and broker-2.
fn in_world<F: Future<Output = ()> + 'static>(test: impl FnOnce(SimHandle, SimRuntime, ClientConfig) -> F) {
    let mut sim = Sim::new(1, SimConfig { time_max: Duration::from_secs(3_600), ..SimConfig::default() });
    let handle = sim.handle();
    let node = handle.add_node(NodeSpec::new("client", [10, 0, 1, 1]));
    let runtime = handle.runtime(node);
    let config = ClientConfig {
        request_timeout: Duration::from_secs(2),
        connect_timeout: Duration::from_secs(1),
        api_timeout: Duration::from_secs(20),
        reconnect_backoff: Backoff { initial: Duration::from_millis(50), max: Duration::from_secs(1) },
        ..ClientConfig::new(["broker-1:9092"], "test")
    };
    sim.block_on(test(handle, runtime, config)).unwrap_or_else(|error| panic!("{error}"));
}

fn always(reaction: impl Fn(usize, &RequestHeader, &Request) -> Reaction + Send + Sync + 'static) -> Script {
    Arc::new(reaction)
}

#[test]
fn client_steps_down_to_the_version_that_the_broker_offers() {
    in_world(async |handle, runtime, config| {
        let seen = peer(
            &handle,
            1,
            always(|_, header, _| {
                if header.api != Api::ApiVersions || header.version <= 2 {
                    return Reaction::Answer;
                }
                // What a broker of Kafka 2.3 says: version 0, error 35, ApiVersions 0 to 2.
                let mut bytes = vec![0, 0, 0, 16];
                bytes.extend(header.correlation_id.to_be_bytes());
                bytes.extend([0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 2]);
                Reaction::Bytes(bytes)
            }),
        );
        Client::connect(runtime, config).await.expect("connects");
        let asked: Vec<_> =
            seen.lock().requests.iter().take(3).map(|(_, api, version)| (*api, *version)).collect();
        assert_eq!(asked[..2], [(Api::ApiVersions, 4), (Api::ApiVersions, 2)]);
        assert_eq!(asked[2].0, Api::Metadata);
        assert_eq!(seen.lock().accepted.len(), 1, "on one connection");
    });
}

#[test]
fn nonsense_ends_the_connection_and_the_next_one_works() {
    let nonsense: [fn(&RequestHeader) -> Vec<u8>; 4] = [
        // Another correlation id.
        |header| [&[0, 0, 0, 8], &(header.correlation_id + 1).to_be_bytes()[..], &[0; 4]].concat(),
        // A frame of 2 GiB.
        |_| vec![0x7f, 0xff, 0xff, 0xff, 0, 0],
        // A frame with a negative length.
        |_| vec![0xff, 0xff, 0xff, 0xff],
        // A body that is none.
        |header| [&[0, 0, 0, 6], &header.correlation_id.to_be_bytes()[..], &[0xff, 0xff]].concat(),
    ];
    for bytes in nonsense {
        in_world(async move |handle, runtime, config| {
            let seen = peer(
                &handle,
                1,
                always(move |connection, header, _| match (connection, header.api) {
                    (1, Api::Metadata) => Reaction::Bytes(bytes(header)),
                    _ => Reaction::Answer,
                }),
            );
            Client::connect(runtime, config).await.expect("connects in the end");
            assert_eq!(seen.lock().accepted.len(), 2);
        });
    }
}

#[test]
fn request_without_an_answer_gives_the_connection_up() {
    in_world(async |handle, runtime, config| {
        let seen = peer(
            &handle,
            1,
            always(|connection, header, _| match (connection, header.api) {
                (1, Api::Metadata) => Reaction::Nothing,
                _ => Reaction::Answer,
            }),
        );
        let began = runtime.now();
        Client::connect(runtime.clone(), config).await.expect("connects in the end");
        let took = runtime.now().since(began);
        assert!(took > Duration::from_secs(2) && took < Duration::from_secs(4), "{took:?}");
        assert_eq!(seen.lock().accepted.len(), 2);
    });
}

#[test]
fn broker_that_hangs_up_is_not_stormed() {
    in_world(async |handle, runtime, config| {
        let seen = peer(&handle, 1, always(|_, _, _| Reaction::Close));
        let error = Client::connect(runtime, config).await.err().expect("nobody answers");
        assert!(matches!(error, ClientError::TimedOut { .. }), "{error}");
        assert!(error.to_string().contains("broker-1:9092"), "{error}");
        let accepted = seen.lock().accepted.clone();
        assert!((10..60).contains(&accepted.len()), "{} connections in 20 s", accepted.len());
        let gaps: Vec<_> = accepted.windows(2).map(|pair| pair[1].since(pair[0])).collect();
        assert!(gaps.iter().skip(6).all(|gap| *gap > Duration::from_millis(750)), "{gaps:?}");
    });
}

#[test]
fn dead_bootstrap_server_does_not_matter_when_another_lives() {
    in_world(async |handle, runtime, config| {
        let config = ClientConfig {
            bootstrap: vec![
                "broker-1:9092".to_owned(),
                "10.0.0.9:9092".to_owned(),
                "broker-2:9092".to_owned(),
            ],
            ..config
        };
        handle.add_node(NodeSpec::new("broker-1", [10, 0, 0, 1]));
        let seen = peer(&handle, 2, always(|_, _, _| Reaction::Answer));
        for _ in 0..10 {
            let client = Client::connect(runtime.clone(), config.clone()).await.expect("connects");
            assert_eq!(client.metadata().brokers.keys().copied().collect::<Vec<_>>(), [2]);
        }
        assert!(seen.lock().accepted.len() >= 10);
    });
}

#[test]
fn dropped_client_ends_its_connections() {
    in_world(async |handle, runtime, config| {
        peer(&handle, 1, always(|_, _, _| Reaction::Answer));
        let client = Client::connect(runtime.clone(), config).await.expect("connects");
        assert_eq!(handle.net().connections(), 1);
        drop(client);
        runtime.sleep(Duration::from_secs(1)).await;
        assert_eq!(handle.net().connections(), 0);
    });
}
