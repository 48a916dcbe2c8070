//! Directories of runs on real processes: `target/burnin/nodes/<pid>-<number>/`. One is removed when its run is
//! over, unless it is kept as evidence. Whoever owns one holds a lock on it; what an owner left that was killed
//! is removed by whoever comes next.

use crate::output::Stop;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const LOCK: &str = "owner";

/// What a run writes of itself, in its own directory or in this one; its history is beside it.
pub const LOG: &str = "log";

/// How often removing is tried: a process that was just killed may still write.
const TRIES: u32 = 50;
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// See the module.
#[derive(Debug)]
pub struct WorkDir {
    path: PathBuf,
    _lock: File,
}

impl WorkDir {
    /// A new one below `report`.
    pub fn create(report: &Path) -> Result<WorkDir, Stop> {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let parent = report.join("nodes");
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("{}-{number}", std::process::id()));
        let failed = |error: std::io::Error| {
            Stop::environment(format!("cannot make the directory {}: {error}", path.display()))
        };
        if number == 1 {
            remove_orphans(&parent);
        }
        let path = std::path::absolute(&path).map_err(failed)?;
        std::fs::create_dir_all(&path).map_err(failed)?;
        let lock = File::create(path.join(LOCK)).map_err(failed)?;
        lock.lock().map_err(failed)?;
        Ok(WorkDir { path, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Moves it into the directory of its run, as evidence, and what the run itself wrote in it beside it. What cannot be
    /// moved is removed.
    pub fn keep_in(self, run: &Path) {
        let nodes = run.join("nodes");
        let _ = std::fs::rename(&self.path, &nodes);
        for own in [LOG.to_owned(), format!("{LOG}.history")] {
            let _ = std::fs::rename(nodes.join(&own), run.join(&own));
        }
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// Removes one.
pub fn remove(path: &Path) {
    for _ in 0..TRIES {
        if std::fs::remove_dir_all(path).is_ok() || !path.exists() {
            break;
        }
        std::thread::sleep(BETWEEN_TRIES);
    }
    // The folder of all of them goes with the last one.
    let _ = path.parent().map(std::fs::remove_dir);
}

/// Removes the directories whose owners are gone.
fn remove_orphans(parent: &Path) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let orphaned = match File::open(entry.path().join(LOCK)) {
            Ok(lock) => !matches!(lock.try_lock(), Err(TryLockError::WouldBlock)),
            // It is being made.
            Err(_) => false,
        };
        if orphaned {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_go_with_their_owner_and_those_of_the_dead_with_the_next() {
        let report = tempfile::tempdir().unwrap();
        let orphan = report.path().join("nodes/1-1");
        std::fs::create_dir_all(&orphan).unwrap();
        std::fs::write(orphan.join(LOCK), "").unwrap();
        let held = report.path().join("nodes/2-1");
        std::fs::create_dir_all(&held).unwrap();
        let lock = File::create(held.join(LOCK)).unwrap();
        lock.lock().unwrap();
        remove_orphans(&report.path().join("nodes"));
        assert!(!orphan.exists() && held.exists());

        let work = WorkDir::create(report.path()).unwrap();
        let path = work.path().to_owned();
        std::fs::write(path.join("data"), "x").unwrap();
        drop(work);
        assert!(!path.exists() && held.exists(), "only its own");
        drop(lock);
        std::fs::remove_dir_all(held).unwrap();

        let (work, run) = (WorkDir::create(report.path()).unwrap(), report.path().join("run"));
        std::fs::create_dir(&run).unwrap();
        std::fs::write(work.path().join("data"), "x").unwrap();
        work.keep_in(&run);
        assert!(run.join("nodes/data").exists() && !report.path().join("nodes").exists());
    }
}
