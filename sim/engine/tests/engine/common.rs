//! Small worlds for tests.
use burnin_engine::*;
use burnin_runtime::{Listener, Net, Runtime};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

pub const MS: Duration = Duration::from_millis(1);
pub const SECOND: Duration = Duration::from_secs(1);

/// Every link takes exactly 1 ms; connections time out after 20 s, retransmissions after 10 s.
pub fn config() -> SimConfig {
    let tcp = TcpModel {
        window: 64 * 1024,
        connect_give_up: 20 * SECOND,
        retransmit_give_up: 10 * SECOND,
        ..TcpModel::default()
    };
    SimConfig { link: LinkModel::fixed(MS), tcp, ..SimConfig::default() }
}

/// Runs `main` in a world.
pub fn run<T: 'static, F: Future<Output = T> + 'static>(
    seed: u64,
    config: SimConfig,
    main: impl FnOnce(SimHandle) -> F,
) -> (T, Trace) {
    let mut sim = Sim::new(seed, config);
    let main = main(sim.handle());
    match sim.block_on(main) {
        Ok(output) => (output, sim.trace()),
        Err(error) => panic!("seed {seed}: {error}"),
    }
}

/// Two nodes without a process, `a` at 10.0.0.1 and `b` at 10.0.0.2.
pub fn pair(h: &SimHandle) -> (SimNode, SimNode) {
    (h.add_node(NodeSpec::new("a", [10, 0, 0, 1])), h.add_node(NodeSpec::new("b", [10, 0, 0, 2])))
}

pub const A: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)), 9092);

/// A connection: `a` listens and gets the first stream, `b` connects and gets the second.
pub async fn connected(h: &SimHandle, a: SimNode, b: SimNode) -> (SimStream, SimStream) {
    let mut listener = h.runtime(a).net().listen(A).await.unwrap();
    let client = h.runtime(b).net().connect(A).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    (server, client)
}

/// The kind of the error, which must be one.
pub fn kind<T: std::fmt::Debug>(result: io::Result<T>) -> io::ErrorKind {
    result.expect_err("an error was expected").kind()
}

/// What `future` gives within `duration`.
pub async fn within<F: Future>(h: &SimHandle, duration: Duration, future: F) -> Option<F::Output> {
    burnin_runtime::timeout(&h.control(), duration, future).await
}

pub async fn sleep(h: &SimHandle, duration: Duration) {
    h.control().sleep(duration).await;
}
