//! `burnin-broker`: the broker on the production runtime. Everything it does is in `burnin-server`; this file
//! reads the command line, prints what people need, and turns outcomes into exit codes.
//!
//! Exit codes: 0 stopped in order, 1 internal error, 2 usage or configuration, 3 environment (a port, a directory,
//! a disk).

mod options;

use burnin_runtime_tokio::TokioRuntime;
use burnin_server::{Broker, ErrorClass, InitialVoters};
use clap::Parser;
use options::{Command, Options, Settings};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Worker threads: connections and handlers are cheap, and system calls of the disk have threads of their own.
const WORKERS: usize = 2;

const INTERNAL: u8 = 1;
const USAGE: u8 = 2;
const ENVIRONMENT: u8 = 3;

/// The same allocator as in the simulator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let options = Options::parse();
    let settings = match options.settings() {
        Ok(settings) => settings,
        Err(error) => return fail(&error, USAGE),
    };
    log_to_stderr();
    die_on_panic();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("failed to start threads: {error}"), ENVIRONMENT),
    };
    let code = match options.command {
        Some(Command::Format { .. }) => {
            let voters = options.initial_voters();
            runtime.block_on(format(settings, voters))
        }
        Some(Command::RandomUuid) => {
            let _entered = runtime.enter();
            println!("{}", burnin_server::random_id(&TokioRuntime::new(settings.root)));
            ExitCode::SUCCESS
        }
        None => runtime.block_on(run(settings)),
    };
    // A disk operation that never returns must not keep the process.
    runtime.shutdown_background();
    code
}

async fn format(settings: Settings, voters: InitialVoters) -> ExitCode {
    let Settings { config, root } = settings;
    match burnin_server::format(&TokioRuntime::new(root), &config, &voters).await {
        Ok(cluster_id) => {
            println!(
                "formatted {} for node {} of cluster {cluster_id}",
                config.data_dir.display(),
                config.node_id
            );
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error.to_string(), exit_code(error.class())),
    }
}

async fn run(settings: Settings) -> ExitCode {
    // Before the start, so that no signal is lost while a large directory is recovered.
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
        return fail("failed to listen for signals", ENVIRONMENT);
    };
    let data_dir = settings.config.data_dir.clone();
    let starting = Broker::start(TokioRuntime::new(settings.root), settings.config);
    let broker = tokio::select! {
        biased;
        _ = terminate.recv() => return ExitCode::SUCCESS,
        _ = interrupt.recv() => return ExitCode::SUCCESS,
        started = starting => match started {
            Ok(broker) => broker,
            Err(error) => return fail(&error.to_string(), exit_code(error.class())),
        },
    };
    greet(&broker, data_dir);
    tokio::select! {
        biased;
        stopped = broker.wait() => match stopped {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error.to_string(), ENVIRONMENT),
        },
        _ = terminate.recv() => stop(&broker).await,
        _ = interrupt.recv() => stop(&broker).await,
    }
}

async fn stop(broker: &Broker<TokioRuntime>) -> ExitCode {
    let mut again = match signal(SignalKind::interrupt()) {
        Ok(again) => again,
        Err(_) => return fail("failed to listen for signals", ENVIRONMENT),
    };
    tokio::select! {
        biased;
        stopped = broker.shutdown() => match stopped {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error.to_string(), ENVIRONMENT),
        },
        _ = again.recv() => fail("interrupted again while stopping: data that was not flushed is recovered at the next start", 130),
    }
}

/// What a person who just started a broker wants to know.
fn greet(broker: &Broker<TokioRuntime>, data_dir: PathBuf) {
    let address = broker.listen_addr();
    let data_dir = std::path::absolute(&data_dir).unwrap_or(data_dir);
    println!(
        "burnin-broker listens on {address}, data in {}, cluster {}",
        data_dir.display(),
        broker.cluster_id()
    );
    println!("  produce:  echo hello | kcat -b {address} -t test -P");
    println!("  consume:  kcat -b {address} -t test -C");
}

fn exit_code(class: ErrorClass) -> u8 {
    match class {
        ErrorClass::Usage => USAGE,
        ErrorClass::Environment => ENVIRONMENT,
        ErrorClass::Internal => INTERNAL,
    }
}

fn fail(error: &str, code: u8) -> ExitCode {
    eprintln!("burnin-broker: {error}");
    ExitCode::from(code)
}

fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}

/// A bug in one task must not leave a broker that half works.
fn die_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        std::process::exit(INTERNAL.into());
    }));
}
