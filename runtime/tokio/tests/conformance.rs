//! The production filling keeps the seam's promises: every check on a multi-thread runtime, on loopback and
//! in a temporary directory.

use burnin_conformance::{Check, Env};
use burnin_runtime_tokio::TokioRuntime;
use std::net::{IpAddr, Ipv4Addr};

fn run(check: Check<TokioRuntime>) {
    let root = tempfile::tempdir().expect("a temporary directory");
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a tokio runtime");
    let _inside = tokio.enter();
    let runtime = TokioRuntime::new(root.path().to_owned());
    let env = Env {
        peer: runtime.clone(),
        runtime,
        ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
        dir: root.path().join("check"),
    };
    if let Err(error) = tokio.block_on(tokio.spawn(check.run(env))) {
        std::panic::resume_unwind(error.into_panic());
    }
}

burnin_conformance::tests!(TokioRuntime, run);
