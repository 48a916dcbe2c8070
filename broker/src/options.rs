//! The command line.

use burnin_server::{BrokerConfig, InitialController, InitialVoters};
use clap::Parser;
use std::path::PathBuf;

/// A Kafka-compatible broker that keeps what it acknowledged.
///
/// Without arguments it is a single node on 127.0.0.1:9092 with its data in ./burnin-data.
#[derive(Debug, Parser)]
#[command(name = "burnin-broker", version)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// Read properties from this file (Kafka's server.properties).
    #[arg(short, long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Set one property, above the file. May be repeated.
    #[arg(long = "override", value_name = "KEY=VALUE", global = true)]
    overrides: Vec<String>,
    /// Keep data here (property log.dirs).
    #[arg(long, value_name = "DIR", global = true)]
    data: Option<String>,
    /// Listen on this port (of the first listener; 0 picks a free one).
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
}

/// What to do instead of running a broker.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Prepare the data directory of a node. Every node of a cluster gets the same cluster id.
    Format {
        /// The cluster id (property cluster.id); drawn at random when not given.
        #[arg(long, value_name = "ID")]
        cluster_id: Option<String>,
        /// This controller is the first voter of a new quorum; others can be added while it runs.
        #[arg(long, group = "voters")]
        standalone: bool,
        /// The first voters of a new quorum, the same on each of them. May be repeated; the directories are ids of
        /// `burnin-broker random-uuid`.
        #[arg(
            long = "initial-controllers",
            visible_alias = "add",
            value_name = "ID@HOST:PORT:DIRECTORY",
            value_delimiter = ',',
            group = "voters"
        )]
        initial_controllers: Vec<InitialController>,
        /// There are voters already: this node finds them at controller.quorum.bootstrap.servers, and can be added.
        #[arg(long, group = "voters")]
        no_initial_controllers: bool,
    },
    /// Print an id for a cluster or a directory.
    RandomUuid,
}

/// What the command line and the file come to.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The configuration.
    pub(crate) config: BrokerConfig,
    /// Relative paths are taken from here.
    pub(crate) root: PathBuf,
}

impl Options {
    /// Reads the file and applies what stands above it.
    pub(crate) fn settings(&self) -> Result<Settings, String> {
        let mut config = match &self.config {
            None => BrokerConfig::default(),
            Some(path) => {
                #[expect(
                    clippy::disallowed_methods,
                    reason = "the program reads its settings before there is a runtime"
                )]
                let text = std::fs::read_to_string(path)
                    .map_err(|error| format!("failed to read {} (--config): {error}", path.display()))?;
                BrokerConfig::parse(&text).map_err(|error| format!("{}: {error}", path.display()))?
            }
        };
        let mut set = |name: &str, value: &str, flag: &str| {
            config = config.with(name, value).map_err(|error| format!("{flag}: {error}"))?;
            Ok::<(), String>(())
        };
        for pair in &self.overrides {
            let (name, value) = pair.split_once('=').ok_or_else(|| {
                format!("--override {pair}: expected KEY=VALUE, for instance num.partitions=3")
            })?;
            set(name.trim(), value.trim(), &format!("--override {pair}"))?;
        }
        if let Some(data) = &self.data {
            set("log.dirs", data, "--data")?;
        }
        if let Some(Command::Format { cluster_id: Some(id), .. }) = &self.command {
            set("cluster.id", id, "--cluster-id")?;
        }
        if let Some(port) = self.port {
            let listeners = self.with_port(&config, port);
            config = config.with("listeners", &listeners).map_err(|error| format!("--port: {error}"))?;
        }
        let root = std::env::current_dir()
            .map_err(|error| format!("failed to find the current directory: {error}"))?;
        Ok(Settings { config, root })
    }

    /// Who votes in the beginning.
    pub(crate) fn initial_voters(&self) -> InitialVoters {
        match &self.command {
            Some(Command::Format { standalone: true, .. }) => InitialVoters::Standalone,
            Some(Command::Format { no_initial_controllers: true, .. }) => InitialVoters::Elsewhere,
            Some(Command::Format { initial_controllers, .. }) if !initial_controllers.is_empty() => {
                InitialVoters::Controllers(initial_controllers.clone())
            }
            _ => InitialVoters::Configured,
        }
    }

    fn with_port(&self, config: &BrokerConfig, port: u16) -> String {
        let mut listeners = config.listeners.clone();
        listeners.extend(config.controller_listeners.iter().cloned());
        listeners[0].port = port;
        listeners.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn settings(arguments: &[&str]) -> Result<Settings, String> {
        let arguments = std::iter::once("burnin-broker").chain(arguments.iter().copied());
        Options::try_parse_from(arguments).map_err(|error| error.to_string())?.settings()
    }

    #[test]
    fn options_stand_above_each_other() {
        Options::command().debug_assert();
        let settings = settings(&["--override", "num.partitions=3", "--data", "/d", "--port", "0"]).unwrap();
        assert_eq!(settings.config.partitions_default, 3);
        assert_eq!(settings.config.data_dir, PathBuf::from("/d"));
        assert_eq!(settings.config.listeners[0].to_string(), "PLAINTEXT://127.0.0.1:0");
    }

    #[test]
    fn initial_controllers_are_given_at_once_or_one_by_one() {
        let of = |arguments: &[&str]| {
            let arguments = ["burnin-broker", "format"].into_iter().chain(arguments.iter().copied());
            match Options::try_parse_from(arguments).unwrap().initial_voters() {
                InitialVoters::Controllers(voters) => voters,
                other => panic!("{other:?}"),
            }
        };
        let (one, two) = ("1@a:9093:JEXY6aqzQY-32P5TStzaFg", "2@[::1]:9093:MvDxzVmcRsaTz33bUuRU6A");
        let voters = of(&["--initial-controllers", &format!("{one},{two}")]);
        assert_eq!(voters, of(&["--add", one, "--add", two]));
        assert_eq!((voters[1].id, voters[1].host.as_str(), voters[1].port), (2, "::1", 9093));
    }

    #[test]
    fn mistakes_name_the_option_and_the_choices() {
        let wrong = |arguments: &[&str]| settings(arguments).unwrap_err();
        assert!(wrong(&["--override", "num.partitions"]).contains("expected KEY=VALUE"));
        assert!(wrong(&["--override", "num.partition=1"]).contains("nearest known: num.partitions"));
        assert!(wrong(&["--config", "/nowhere"]).contains("/nowhere"));
        let format = ["format", "--cluster-id", "no id"];
        assert!(wrong(&format).contains("--cluster-id: invalid value `no id`"));
        let format = ["format", "--initial-controllers", "1@node1:9093"];
        assert!(wrong(&format).contains("id@host:port:directory"));
        let format = ["format", "--standalone", "--no-initial-controllers"];
        assert!(wrong(&format).contains("cannot be used with"));
        assert!(wrong(&["--data", "a,b"]).contains("exactly one directory"));
    }
}
