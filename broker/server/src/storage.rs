//! The data directory: `meta.properties`, as Kafka's storage tool writes it, and formatting an empty directory.

use crate::error::StartError;
use burnin_core::config::{BrokerConfig, parse_properties};
use burnin_core::{decode_id, encode_id, fresh_id};
use burnin_runtime::{Disk, Entropy, File, OpenOptions, Runtime};
use bytes::Bytes;
use std::io;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// The file that says whose directory it is.
const META_PROPERTIES: &str = "meta.properties";
/// Where it is written before it is renamed into place.
const META_TEMPORARY: &str = "meta.properties.tmp";

/// The marker that an orderly stop leaves (`burnin_log` writes it).
const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";

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
    /// Whether the last stop was in order. Opening the log directory removes the marker.
    pub(crate) was_clean: bool,
}

/// Whose directory it is; an empty one is formatted for this node first.
pub(crate) async fn open<R: Runtime>(runtime: &R, config: &BrokerConfig) -> Result<Opened, StartError> {
    let (disk, dir) = (runtime.disk(), config.data_dir.as_path());
    disk.create_dir_all(dir).await.map_err(failed("create", dir))?;
    let path = dir.join(META_PROPERTIES);
    let mut was_clean = false;
    let meta = match read(disk, &path).await {
        Ok(text) => MetaProperties::parse(&text)
            .map_err(|reason| StartError::Unformatted { path: dir.to_owned(), reason })?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            refuse_foreign_content(disk, dir).await?;
            let meta = fresh(config, &mut runtime.entropy("storage"));
            write(disk, dir, &meta.text()).await?;
            was_clean = true;
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
            let entries = disk.list(dir).await.map_err(failed("list", dir))?;
            was_clean |= entries.iter().any(|entry| entry.name == CLEAN_SHUTDOWN);
            Ok(Opened { meta, was_clean })
        }
    }
}

fn fresh(config: &BrokerConfig, entropy: &mut Entropy) -> MetaProperties {
    let mut id = || {
        fresh_id(|| {
            let mut bytes = [0; 16];
            entropy.fill(&mut bytes);
            bytes
        })
    };
    MetaProperties {
        cluster_id: config.cluster_id.clone().unwrap_or_else(|| encode_id(id())),
        node_id: config.node_id,
        directory_id: id(),
    }
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
    match entries.iter().find(|entry| !harmless.contains(&entry.name.as_str())) {
        None => Ok(()),
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
