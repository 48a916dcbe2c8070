//! The command line.

use burnin_server::BrokerConfig;
use clap::Parser;
use std::path::PathBuf;

/// A Kafka-compatible broker that keeps what it acknowledged.
///
/// Without arguments it is a single node on 127.0.0.1:9092 with its data in ./burnin-data.
#[derive(Debug, Parser)]
#[command(name = "burnin-broker", version)]
pub(crate) struct Options {
    /// Read properties from this file (Kafka's server.properties).
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set one property, above the file. May be repeated.
    #[arg(long = "override", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Keep data here (property log.dirs).
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Listen on this port (of the first listener; 0 picks a free one).
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
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
        if let Some(port) = self.port {
            let listeners = self.with_port(&config, port);
            config = config.with("listeners", &listeners).map_err(|error| format!("--port: {error}"))?;
        }
        let root = std::env::current_dir()
            .map_err(|error| format!("failed to find the current directory: {error}"))?;
        Ok(Settings { config, root })
    }

    fn with_port(&self, config: &BrokerConfig, port: u16) -> String {
        let mut listeners = config.listeners.clone();
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
    fn mistakes_name_the_option_and_the_choices() {
        let wrong = |arguments: &[&str]| settings(arguments).unwrap_err();
        assert!(wrong(&["--override", "num.partitions"]).contains("expected KEY=VALUE"));
        assert!(wrong(&["--override", "num.partition=1"]).contains("nearest known: num.partitions"));
        assert!(wrong(&["--config", "/nowhere"]).contains("/nowhere"));
        assert!(wrong(&["--data", "a,b"]).contains("exactly one directory"));
    }
}
