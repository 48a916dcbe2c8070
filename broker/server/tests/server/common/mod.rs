//! A broker with a bare connection to it, on the simulator and on tokio: the same checks run on both.
#![allow(dead_code, reason = "each benchmark uses its part")]

pub mod cluster;
#[macro_use]
pub mod peer;
pub mod requests;

use burnin_engine::{NodeSpec, Sim, SimConfig, SimHandle, SimNode, SimRuntime};
use burnin_runtime::Runtime;
use burnin_runtime_tokio::TokioRuntime;
use burnin_server::{Broker, BrokerConfig, StartError};
use peer::Peer;
use std::future::Future;
use std::net::SocketAddr;

/// A started broker and somebody who talks to it.
pub struct Env<R: Runtime> {
    pub server: R,
    pub client: R,
    pub broker: Broker<R>,
    pub config: BrokerConfig,
}

impl<R: Runtime> Env<R> {
    pub fn address(&self) -> SocketAddr {
        self.broker.listen_addr()
    }

    /// A new connection.
    pub async fn peer(&self) -> Peer<R> {
        Peer::connect(&self.client, self.address()).await
    }

    /// Stops the broker in order and starts it again on the same directory.
    pub async fn restart(self) -> Env<R> {
        let Env { server, client, broker, config } = self;
        broker.shutdown().await.expect("an orderly stop");
        drop(broker);
        let broker = Broker::start(server.clone(), config.clone()).await.expect("the broker starts again");
        Env { server, client, broker, config }
    }
}

/// Settings as `name=value` lines.
pub fn config(base: &BrokerConfig, settings: &str) -> BrokerConfig {
    let lines = settings.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.fold(base.clone(), |config, line| {
        let (name, value) = line.split_once('=').expect("name=value");
        config.with(name, value).expect("a valid property")
    })
}

pub const SERVER_IP: [u8; 4] = [10, 0, 0, 1];

/// The configuration of a simulated broker.
pub fn sim_config(settings: &str) -> BrokerConfig {
    let base = "listeners=PLAINTEXT://10.0.0.1:9092\nlog.dirs=/data\nlog.message.timestamp.after.max.ms=9223372036854775807";
    config(&config(&BrokerConfig::default(), base), settings)
}

/// Runs `test` in a simulated world with one server node and one client node.
pub fn in_world<T: 'static, F: Future<Output = T> + 'static>(
    seed: u64,
    test: impl FnOnce(SimHandle, SimNode, SimNode) -> F + 'static,
) -> T {
    let mut sim = Sim::new(seed, SimConfig::default());
    let handle = sim.handle();
    let server = handle.add_node(NodeSpec::new("server", SERVER_IP));
    let client = handle.add_node(NodeSpec::new("client", [10, 0, 0, 2]));
    match sim.block_on(test(handle, server, client)) {
        Ok(output) => output,
        Err(error) => panic!("seed {seed}: {error}"),
    }
}

/// Starts a broker on a node of a world.
pub async fn start_in(
    handle: &SimHandle,
    server: SimNode,
    config: &BrokerConfig,
) -> Result<Broker<SimRuntime>, StartError> {
    Broker::start(handle.runtime(server), config.clone()).await
}

/// Runs a check in the simulator.
pub fn on_engine<F: Future<Output = ()> + 'static>(
    settings: &str,
    test: impl Fn(Env<SimRuntime>) -> F + Clone + 'static,
) {
    for seed in 0..4 {
        let (config, test) = (sim_config(settings), test.clone());
        in_world(seed, async move |handle: SimHandle, server, client| {
            let broker = start_in(&handle, server, &config).await.expect("the broker starts");
            test(Env { server: handle.runtime(server), client: handle.runtime(client), broker, config })
                .await;
        });
    }
}

/// Runs a check on tokio, over the loopback interface.
pub fn on_tokio<F: Future<Output = ()>>(settings: &str, test: impl Fn(Env<TokioRuntime>) -> F) {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let base = format!("listeners=PLAINTEXT://127.0.0.1:0\nlog.dirs={}", data.display());
    let config = config(&config(&BrokerConfig::default(), &base), settings);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let server = TokioRuntime::new(dir.path().to_owned());
        let broker = Broker::start(server.clone(), config.clone()).await.expect("the broker starts");
        test(Env { client: server.clone(), server, broker, config }).await;
    });
    runtime.shutdown_background();
}

/// Declares a check that runs on both runtimes: `both!(name, "settings", check)`.
#[macro_export]
macro_rules! both {
    ($($name:ident: $settings:expr;)*) => {
        mod engine {
            $(#[test] fn $name() { $crate::common::on_engine($settings, super::$name); })*
        }
        mod tokio {
            $(#[test] fn $name() { $crate::common::on_tokio($settings, super::$name); })*
        }
    };
}
