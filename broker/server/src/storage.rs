//! The data directory: `meta.properties`, as Kafka's storage tool writes it, and formatting an empty directory.

use crate::error::StartError;
use crate::quorum::Snapshots;
use crate::quorum::voters::KRAFT_VERSIONS;
use burnin_core::config::{BrokerConfig, Voter, parse_properties};
use burnin_core::metadata::{Image, METADATA_TOPIC, SnapshotParts, encode_snapshot, snapshot_name};
use burnin_core::quorum::SnapshotId;
use burnin_core::{decode_id, encode_id, fresh_id};
use burnin_runtime::{Disk, Entropy, File, OpenOptions, Runtime};
use burnin_wire::control_records::{self, VoterEndpoint, VotersRecord};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use uuid::Uuid;

/// The file that says whose directory it is.
const META_PROPERTIES: &str = "meta.properties";
/// Where it is written before it is renamed into place.
const META_TEMPORARY: &str = "meta.properties.tmp";

/// The marker that an orderly stop leaves (`burnin_log` writes it).
const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";

/// The snapshot that formatting writes (`Snapshots.BOOTSTRAP_SNAPSHOT_ID`).
const BOOTSTRAP: SnapshotId = SnapshotId { end_offset: 0, epoch: 0 };
/// `DirectoryId.reserved`: ids below this are no directories.
const DIRECTORY_MIN: u128 = 100;

/// What `meta.properties` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MetaProperties {
    pub(crate) cluster_id: String,
    pub(crate) node_id: i32,
    pub(crate) directory_id: Uuid,
}

impl MetaProperties {
    fn text(&self) -> String {
        format!(
            "#\nnode.id={}\ndirectory.id={}\nversion=1\ncluster.id={}\n",
            self.node_id,
            encode_id(self.directory_id),
            self.cluster_id
        )
    }

    fn parse(text: &str) -> Result<MetaProperties, String> {
        let properties = parse_properties(text).map_err(|error| format!("{META_PROPERTIES}: {error}"))?;
        let value = |name: &str| {
            properties
                .get(name)
                .map(String::as_str)
                .ok_or_else(|| format!("{META_PROPERTIES} has no `{name}`"))
        };
        let wrong = |name: &str, value: &str| format!("{META_PROPERTIES} has {name}=`{value}`");
        if value("version")? != "1" {
            return Err(wrong("version", value("version")?) + " (known: 1)");
        }
        let node_id =
            value("node.id")?.parse().map_err(|_| wrong("node.id", value("node.id").unwrap_or_default()))?;
        let directory_id = value("directory.id")?;
        Ok(MetaProperties {
            cluster_id: value("cluster.id")?.to_owned(),
            node_id,
            directory_id: decode_id(directory_id).ok_or_else(|| wrong("directory.id", directory_id))?,
        })
    }
}

/// A data directory that this node may use.
pub(crate) struct Opened {
    pub(crate) meta: MetaProperties,
    /// That of the last life if it ended in order, else -1. Opening the log directory removes the marker.
    pub(crate) previous_broker_epoch: i64,
}

/// Whose directory it is; an empty one is formatted for this node first.
pub(crate) async fn open<R: Runtime>(runtime: &R, config: &BrokerConfig) -> Result<Opened, StartError> {
    let (disk, dir) = (runtime.disk(), config.data_dir.as_path());
    disk.create_dir_all(dir).await.map_err(failed("create", dir))?;
    let path = dir.join(META_PROPERTIES);
    let meta = match read(disk, &path).await {
        Ok(text) => MetaProperties::parse(&text)
            .map_err(|reason| StartError::Unformatted { path: dir.to_owned(), reason })?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            refuse_foreign_content(disk, dir).await?;
            let is_only_voter = matches!(&config.voters[..], [voter] if voter.id == config.node_id);
            if config.cluster_id.is_none() && !config.is_alone() && !is_only_voter {
                // Each node would draw another one.
                let reason =
                    "it is not formatted, and nodes of one quorum need one cluster id: run `burnin-broker \
                              format --config FILE --cluster-id ID` on each, or set `cluster.id`"
                        .to_owned();
                return Err(StartError::Unformatted { path: dir.to_owned(), reason });
            }
            let meta = fresh(config, &mut runtime.entropy("storage"));
            write(disk, dir, &meta.text()).await?;
            tracing::info!(dir = %dir.display(), cluster_id = meta.cluster_id, "formatted the data directory");
            meta
        }
        Err(error) => return Err(failed("read", &path)(error)),
    };
    let foreign = |property, found: String, wanted: String| StartError::Foreign {
        path: dir.to_owned(),
        property,
        found,
        wanted,
    };
    if meta.node_id != config.node_id {
        return Err(foreign("node.id", meta.node_id.to_string(), config.node_id.to_string()));
    }
    match &config.cluster_id {
        Some(wanted) if *wanted != meta.cluster_id => {
            Err(foreign("cluster.id", meta.cluster_id, wanted.clone()))
        }
        _ => {
            let marker = dir.join(CLEAN_SHUTDOWN);
            let previous_broker_epoch = match read(disk, &marker).await {
                Ok(text) => burnin_log::clean_shutdown_epoch(&text),
                // Damaged or not there: whoever may have lost something says so.
                Err(_) => -1,
            };
            Ok(Opened { meta, previous_broker_epoch })
        }
    }
}

/// Formats the data directory of a node (`kafka-storage format`) and gives the cluster id. A directory that is
/// formatted for this node and this cluster already stays as it is.
pub async fn format<R: Runtime>(
    runtime: &R,
    config: &BrokerConfig,
    voters: &InitialVoters,
) -> Result<String, StartError> {
    let (disk, dir) = (runtime.disk(), config.data_dir.as_path());
    disk.create_dir_all(dir).await.map_err(failed("create", dir))?;
    let path = dir.join(META_PROPERTIES);
    if let Err(error) = read(disk, &path).await {
        if error.kind() != io::ErrorKind::NotFound {
            return Err(failed("read", &path)(error));
        }
        refuse_foreign_content(disk, dir).await?;
        let mut meta = fresh(config, &mut runtime.entropy("storage"));
        if let Some(record) = voters.record(config, &mut meta)? {
            write_voters(runtime, dir, record).await?;
        }
        write(disk, dir, &meta.text()).await?;
    }
    open(runtime, config).await.map(|opened| opened.meta.cluster_id)
}

/// Who votes in the beginning of a quorum whose voters stand in its log (KIP-853).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum InitialVoters {
    /// Nobody is said to: `controller.quorum.voters` do, or this node is alone.
    #[default]
    Configured,
    /// This node alone (`--standalone`); others are added later.
    Standalone,
    /// These (`--initial-controllers`); the same on all of them.
    Controllers(Vec<InitialController>),
    /// Those who do already (`--no-initial-controllers`): this node joins them.
    Elsewhere,
}

/// A voter as `--initial-controllers` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitialController {
    /// Its node id.
    pub id: i32,
    /// Where its controller listens.
    pub host: String,
    /// The same.
    pub port: u16,
    /// The id that its directory gets.
    pub directory: Uuid,
}

impl FromStr for InitialController {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = || {
            format!(
                "`{text}` is not id@host:port:directory, for instance 1@node1:9093:JEXY6aqzQY-32P5TStzaFg"
            )
        };
        let (voter, directory) = text.trim().rsplit_once(':').ok_or_else(wanted)?;
        let directory = decode_id(directory).filter(|id| id.as_u128() >= DIRECTORY_MIN).ok_or_else(wanted)?;
        let voter = Voter::parse(voter).ok_or_else(wanted)?;
        Ok(InitialController { id: voter.id, host: voter.host, port: voter.port, directory })
    }
}

impl InitialVoters {
    /// The voters to write, whose directory this may be. Kafka's `StorageTool` asks and refuses the same.
    fn record(
        &self,
        config: &BrokerConfig,
        meta: &mut MetaProperties,
    ) -> Result<Option<VotersRecord>, StartError> {
        let unusable = |reason: &str| StartError::Unformatted {
            path: config.data_dir.clone(),
            reason: reason.to_owned(),
        };
        let name = config.controller_listener_names.first();
        if matches!(self, InitialVoters::Standalone | InitialVoters::Controllers(_))
            && !config.voters.is_empty()
        {
            let why = "`controller.quorum.voters` is set: with --standalone or --initial-controllers the voters stand in \
                       the log, and `controller.quorum.bootstrap.servers` says where to find them";
            return Err(unusable(why));
        }
        let voters = match self {
            InitialVoters::Elsewhere => return Ok(None),
            InitialVoters::Configured => {
                if config.roles.controller && config.voters.is_empty() && !config.bootstrap_servers.is_empty()
                {
                    let why = "`controller.quorum.voters` is not set on this controller: one of --standalone, \
                               --initial-controllers and --no-initial-controllers must be given";
                    return Err(unusable(why));
                }
                return Ok(None);
            }
            InitialVoters::Standalone => {
                let own = config.controller_listeners.first().filter(|_| config.roles.controller);
                let own = own.ok_or_else(|| {
                    unusable("--standalone is for controllers, which have a listener of `controller.listener.names`")
                })?;
                let advertised = config.advertised.iter().find(|endpoint| endpoint.name == own.name);
                let at = advertised.unwrap_or(own);
                let host = if at.is_wildcard() { "localhost".to_owned() } else { at.host.clone() };
                vec![InitialController {
                    id: config.node_id,
                    host,
                    port: at.port,
                    directory: meta.directory_id,
                }]
            }
            InitialVoters::Controllers(voters) => voters.clone(),
        };
        let name = name.ok_or_else(|| unusable("`controller.listener.names` is not set"))?;
        let mut seen = BTreeSet::new();
        for voter in &voters {
            if !seen.insert(voter.id) {
                return Err(unusable(&format!("controller {} is named twice", voter.id)));
            }
        }
        if let Some(own) = voters.iter().find(|voter| voter.id == config.node_id) {
            meta.directory_id = own.directory;
        }
        let voter = |voter: &InitialController| control_records::Voter {
            voter_id: voter.id,
            voter_directory_id: voter.directory,
            endpoints: vec![VoterEndpoint { name: name.clone(), host: voter.host.clone(), port: voter.port }],
            k_raft_version_feature: KRAFT_VERSIONS,
        };
        Ok(Some(VotersRecord { voters: voters.iter().map(voter).collect() }))
    }
}

/// Writes the snapshot with which a log begins that names its voters: of offset 0, without metadata.
async fn write_voters<R: Runtime>(runtime: &R, dir: &Path, voters: VotersRecord) -> Result<(), StartError> {
    let dir = dir.join(metadata_dir());
    runtime.disk().create_dir_all(&dir).await.map_err(failed("create", &dir))?;
    let now_ms = runtime.wall_ms();
    let bytes = encode_snapshot(&SnapshotParts {
        id: BOOTSTRAP,
        image: &Image::default(),
        voters: Some(&voters),
        last_timestamp_ms: now_ms,
        now_ms,
    });
    let stored =
        Snapshots::new(runtime.clone(), dir.clone(), Default::default()).store(BOOTSTRAP, bytes).await;
    stored.map_err(|reason| failed("write", &dir)(io::Error::other(reason)))
}

fn metadata_dir() -> String {
    format!("{METADATA_TOPIC}-0")
}

fn fresh(config: &BrokerConfig, entropy: &mut Entropy) -> MetaProperties {
    MetaProperties {
        cluster_id: config.cluster_id.clone().unwrap_or_else(|| encode_id(draw_id(entropy))),
        node_id: config.node_id,
        directory_id: draw_id(entropy),
    }
}

fn draw_id(entropy: &mut Entropy) -> Uuid {
    fresh_id(|| {
        let mut bytes = [0; 16];
        entropy.fill(&mut bytes);
        bytes
    })
}

/// An id as clusters and directories have it, drawn at random (`kafka-storage random-uuid`).
pub fn random_id<R: Runtime>(runtime: &R) -> String {
    encode_id(draw_id(&mut runtime.entropy("random-id")))
}

fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> StartError + 'a {
    move |source| StartError::Directory { action, path: path.to_owned(), source }
}

async fn read<D: Disk>(disk: &D, path: &Path) -> io::Result<String> {
    let file = disk.open(path, OpenOptions::READ).await?;
    let length = file.len().await?.min(64 * 1024) as usize;
    let bytes = file.read_at(0, length).await?;
    String::from_utf8(bytes.to_vec()).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// A directory with logs and without `meta.properties` was damaged or is somebody else's: formatting it would
/// make its data a stranger's.
async fn refuse_foreign_content<D: Disk>(disk: &D, dir: &Path) -> Result<(), StartError> {
    let entries = disk.list(dir).await.map_err(failed("list", dir))?;
    let harmless = [META_TEMPORARY, ".lock", "lost+found"];
    let mut others = entries.iter().filter(|entry| !harmless.contains(&entry.name.as_str()));
    match others.next() {
        None => Ok(()),
        // What formatting writes first, without the rest.
        Some(entry) if entry.name == metadata_dir() && others.next().is_none() => {
            let inner = dir.join(&entry.name);
            let entries = disk.list(&inner).await.map_err(failed("list", &inner))?;
            let bootstrap = snapshot_name(BOOTSTRAP);
            match entries.iter().find(|entry| !entry.name.starts_with(&bootstrap)) {
                None => Ok(()),
                Some(entry) => Err(StartError::Unformatted {
                    path: inner,
                    reason: format!("it holds `{}`, and {META_PROPERTIES} is missing above", entry.name),
                }),
            }
        }
        Some(entry) => Err(StartError::Unformatted {
            path: dir.to_owned(),
            reason: format!("it holds `{}` and no {META_PROPERTIES}", entry.name),
        }),
    }
}

/// Content first, then the name: a crash leaves either no `meta.properties` or a whole one.
async fn write<D: Disk>(disk: &D, dir: &Path, text: &str) -> Result<(), StartError> {
    let (temporary, path): (PathBuf, PathBuf) = (dir.join(META_TEMPORARY), dir.join(META_PROPERTIES));
    let file = disk.open(&temporary, OpenOptions::REPLACE).await.map_err(failed("create", &temporary))?;
    let content = vec![Bytes::copy_from_slice(text.as_bytes())];
    file.write_at(0, content).await.map_err(failed("write", &temporary))?;
    file.sync_data().await.map_err(failed("sync", &temporary))?;
    disk.rename(&temporary, &path).await.map_err(failed("rename", &temporary))?;
    disk.sync_dir(dir).await.map_err(failed("sync", dir))?;
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        disk.sync_dir(parent).await.map_err(failed("sync", parent))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meta_properties_are_kafkas_and_mistakes_are_named() {
        let meta = MetaProperties {
            cluster_id: "Sn6UtN1gQ7Kc1Dh0VbG9Sg".into(),
            node_id: 3,
            directory_id: Uuid::from_u128(0x1234_5678_9abc_4def_8123_4567_89ab_cdef),
        };
        assert_eq!(MetaProperties::parse(&meta.text()), Ok(meta.clone()));
        let kafkas = "#\n#Fri Nov 20 10:00:00 UTC 2026\ncluster.id=c\ndirectory.id=EjRWeJq8Te-BI0VniavN7w\nnode.id=3\nversion=1\n";
        assert_eq!(MetaProperties::parse(kafkas).map(|meta| meta.directory_id), Ok(meta.directory_id));
        for (text, reason) in [
            ("", "no `version`"),
            ("version=0", "`0`"),
            ("version=1\nnode.id=x\ncluster.id=c\ndirectory.id=AAAAAAAAAAAAAAAAAAAAAQ", "node.id=`x`"),
            ("version=1\nnode.id=1\ncluster.id=c\ndirectory.id=?", "directory.id=`?`"),
        ] {
            let error = MetaProperties::parse(text).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
