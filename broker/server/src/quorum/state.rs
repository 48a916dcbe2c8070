//! The `quorum-state` file (`FileQuorumStateStore`): what a replica must not forget, in Kafka's JSON.

use burnin_core::quorum::{ElectionState, ReplicaKey};
use burnin_core::{decode_id, encode_id};
use burnin_runtime::{Disk, File, Mutant, OpenOptions, Runtime};
use bytes::Bytes;
use serde_json::{Value, json};
use std::io;
use std::path::{Path, PathBuf};

const NAME: &str = "quorum-state";
const TEMPORARY: &str = "quorum-state.tmp";
const LENGTH_MAX: u64 = 64 * 1024;

/// The file of one replica, in the directory of its metadata log.
pub(super) struct StateFile<R: Runtime> {
    runtime: R,
    dir: PathBuf,
}

impl<R: Runtime> StateFile<R> {
    pub(super) fn new(runtime: R, dir: PathBuf) -> Self {
        StateFile { runtime, dir }
    }

    /// What was stored last; a replica without the file has never voted. A file that cannot be read is an error:
    /// to go on without it could mean to vote twice.
    pub(super) async fn load(&self) -> Result<ElectionState, String> {
        let path = self.dir.join(NAME);
        let failed = |error: io::Error| format!("failed to read {}: {error}", path.display());
        let file = match self.runtime.disk().open(&path, OpenOptions::READ).await {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(ElectionState::default()),
            Err(error) => return Err(failed(error)),
        };
        let length = file.len().await.map_err(failed)?.min(LENGTH_MAX);
        let bytes = file.read_at(0, length as usize).await.map_err(failed)?;
        decode(&bytes).map_err(|why| format!("{} is damaged: {why}", path.display()))
    }

    /// Content first, then the name: a crash leaves the old state or the new one.
    pub(super) async fn store(&self, state: &ElectionState) -> Result<(), String> {
        let (temporary, path) = (self.dir.join(TEMPORARY), self.dir.join(NAME));
        let written = self.write(&temporary, &path, encode(state)).await;
        written.map_err(|error| format!("failed to write {}: {error}", path.display()))
    }

    async fn write(&self, temporary: &Path, path: &Path, content: Bytes) -> io::Result<()> {
        let disk = self.runtime.disk();
        let file = disk.open(temporary, OpenOptions::REPLACE).await?;
        file.write_at(0, vec![content]).await?;
        // the planted bug leaves the vote to the page cache
        if self.runtime.mutants().on(Mutant::Q02) {
            return disk.rename(temporary, path).await;
        }
        file.sync_data().await?;
        disk.rename(temporary, path).await?;
        disk.sync_dir(&self.dir).await
    }
}

fn encode(state: &ElectionState) -> Bytes {
    let voted = state.voted.unwrap_or(ReplicaKey { id: -1, directory: uuid::Uuid::nil() });
    let text = json!({
        "leaderId": state.leader.unwrap_or(-1),
        "leaderEpoch": state.epoch,
        "votedId": voted.id,
        "votedDirectoryId": encode_id(voted.directory),
        "data_version": 1,
    });
    Bytes::from(text.to_string())
}

/// Reads versions 0 and 1; version 0 knows no directories.
fn decode(bytes: &[u8]) -> Result<ElectionState, String> {
    let value: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let number = |name: &str| {
        let number = value.get(name).and_then(Value::as_i64).and_then(|n| i32::try_from(n).ok());
        number.filter(|n| *n >= -1).ok_or_else(|| format!("`{name}` is missing or wrong"))
    };
    let version = number("data_version")?;
    if !(0..=1).contains(&version) {
        return Err(format!("data_version is {version} (known: 0, 1)"));
    }
    let directory = match value.get("votedDirectoryId").and_then(Value::as_str) {
        Some(text) => decode_id(text).ok_or_else(|| "`votedDirectoryId` is wrong".to_owned())?,
        None => uuid::Uuid::nil(),
    };
    let id = |id: i32| (id >= 0).then_some(id);
    let epoch = number("leaderEpoch")?;
    if epoch < 0 {
        return Err("`leaderEpoch` is negative".to_owned());
    }
    Ok(ElectionState {
        epoch,
        leader: id(number("leaderId")?),
        voted: id(number("votedId")?).map(|id| ReplicaKey { id, directory }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn states_come_back_and_damage_is_named() {
        let voted =
            ReplicaKey { id: 2, directory: Uuid::from_u128(0x1234_5678_9abc_4def_8123_4567_89ab_cdef) };
        for state in [
            ElectionState::default(),
            ElectionState { epoch: 7, leader: Some(1), voted: None },
            ElectionState { epoch: 9, leader: None, voted: Some(voted) },
        ] {
            assert_eq!(decode(&encode(&state)), Ok(state));
        }
        let kafkas = br#"{"clusterId":"","leaderId":3,"leaderEpoch":4,"votedId":-1,"appliedOffset":0,
            "currentVoters":[{"voterId":1},{"voterId":3}],"data_version":0}"#;
        assert_eq!(decode(kafkas), Ok(ElectionState { epoch: 4, leader: Some(3), voted: None }));
        for (text, why) in [
            ("", "EOF"),
            ("{}", "`data_version`"),
            (r#"{"data_version":2}"#, "known: 0, 1"),
            (r#"{"data_version":1,"leaderEpoch":-1}"#, "`leaderEpoch` is negative"),
            (r#"{"data_version":1,"leaderEpoch":1,"leaderId":1}"#, "`votedId`"),
            (r#"{"data_version":1,"votedDirectoryId":"?"}"#, "`votedDirectoryId`"),
        ] {
            let error = decode(text.as_bytes()).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
