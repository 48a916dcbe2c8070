//! The durability oracle: an independent, naive model of what a disk may show after a power loss, held
//! against the engine's disk over random operations, overlapping syncs and repeated power losses.
//!
//! The model keeps every content that a file ever had. A sync that answered Ok makes the content at its
//! beginning the oldest one that may come back; after a power loss each sector must be that of some content
//! since, the size must lie between the sizes since, and a name that was synced must be there.

use crate::common::*;
use burnin_engine::*;
use burnin_runtime::{Disk, Entropy, File, OpenOptions, Runtime};
use bytes::Bytes;
use std::path::Path;
use std::sync::{Arc, Mutex};

const SECTOR: usize = 512;

/// Every content since the last sync, oldest first.
#[derive(Default)]
struct Model {
    contents: Vec<Vec<u8>>,
    name_synced: bool,
}

impl Model {
    fn now(&self) -> &Vec<u8> {
        self.contents.last().expect("a file has a content")
    }

    fn sector(content: &[u8], sector: usize) -> [u8; SECTOR] {
        let mut out = [0; SECTOR];
        let from = (sector * SECTOR).min(content.len());
        let to = (from + SECTOR).min(content.len());
        out[..to - from].copy_from_slice(&content[from..to]);
        out
    }

    fn check(&self, seed: u64, path: &str, found: Option<&Vec<u8>>) {
        let Some(found) = found else {
            assert!(!self.name_synced, "seed {seed}: the synced name {path} is gone");
            return;
        };
        let (low, high) =
            self.contents.iter().map(Vec::len).fold((usize::MAX, 0), |(l, h), n| (l.min(n), h.max(n)));
        assert!((low..=high).contains(&found.len()), "seed {seed}: {path} has {} bytes", found.len());
        for sector in 0..found.len().div_ceil(SECTOR) {
            let visible = (found.len() - sector * SECTOR).min(SECTOR);
            let shown = Model::sector(found, sector);
            let known = self.contents.iter().any(|content| {
                // A size ahead of the data reads as zeros, byte by byte.
                let candidate = Model::sector(content, sector);
                candidate[..visible] == shown[..visible]
            });
            assert!(known, "seed {seed}: sector {sector} of {path} was never written so");
        }
    }
}

async fn work(rt: SimRuntime, mut entropy: Entropy, models: Arc<Mutex<Vec<Model>>>) {
    let mut files = Vec::new();
    for index in 0..3 {
        let path = format!("/f{index}");
        let file = rt.disk().open(Path::new(&path), OpenOptions::CREATE).await.unwrap();
        files.push(file);
    }
    loop {
        let index = entropy.below(3) as usize;
        let file = &files[index];
        let change = |apply: &dyn Fn(&mut Vec<u8>)| {
            let mut models = models.lock().unwrap();
            let mut content = models[index].now().clone();
            apply(&mut content);
            models[index].contents.push(content);
        };
        let sync = |begun: usize| {
            let model = &mut models.lock().unwrap()[index];
            // Later syncs may have answered already; this one promises no less than they did.
            let dropped = begun.min(model.contents.len() - 1);
            model.contents.drain(..dropped);
        };
        let len = models.lock().unwrap()[index].now().len() as u64;
        let data = vec![entropy.between(1, 255) as u8; entropy.between(1, 9000) as usize];
        let offset = if entropy.chance(0.7) { len } else { entropy.below(len + 3000) };
        // The model changes before the operation begins: from then on it may or may not have happened.
        let write = |content: &mut Vec<u8>| {
            let end = offset as usize + data.len();
            if content.len() < end {
                content.resize(end, 0);
            }
            content[offset as usize..end].copy_from_slice(&data);
        };
        match entropy.below(10) {
            0..5 => {
                change(&write);
                file.write_at(offset, vec![Bytes::from(data.clone())]).await.unwrap();
            }
            5 => {
                let len = entropy.below(len + 5000);
                change(&|content| content.resize(len as usize, 0));
                file.set_len(len).await.unwrap();
            }
            6 | 7 => {
                let begun = models.lock().unwrap()[index].contents.len() - 1;
                file.sync_data().await.unwrap();
                sync(begun);
            }
            8 => {
                // A write while a sync is under way: the sync promises only what was there before.
                let begun = models.lock().unwrap()[index].contents.len() - 1;
                let other = file.clone();
                let syncing = rt.spawn("sync", async move { other.sync_data().await });
                rt.sleep(entropy.duration(std::time::Duration::ZERO, MS)).await;
                change(&write);
                file.write_at(offset, vec![Bytes::from(data.clone())]).await.unwrap();
                syncing.await.unwrap().unwrap();
                sync(begun);
            }
            _ => {
                rt.disk().sync_dir(Path::new("/")).await.unwrap();
                models.lock().unwrap().iter_mut().for_each(|model| model.name_synced = true);
            }
        }
    }
}

async fn survive(seed: u64, h: SimHandle, lying: bool) -> [u64; 3] {
    let node = h.add_node(NodeSpec::new("n", [10, 0, 0, 1]));
    h.disk(node).lie_on_sync(lying);
    let mut supervisor = h.entropy("supervisor");
    let fresh = || Model { contents: vec![Vec::new()], name_synced: false };
    let models = Arc::new(Mutex::new((0..3).map(|_| fresh()).collect::<Vec<_>>()));
    let mut losses = [0; 3];
    for _ in 0..6 {
        let rt = h.runtime(node);
        let task = rt.clone().spawn("work", work(rt.clone(), h.entropy("work"), models.clone()));
        sleep(&h, supervisor.duration(MS, 40 * MS)).await;
        let kill_first = supervisor.chance(0.3);
        if kill_first {
            h.kill(node).unwrap();
        }
        let loss = h.power_loss(node).unwrap();
        drop(task);
        losses[0] += loss.pages_kept;
        losses[1] += loss.pages_lost;
        losses[2] += loss.pages_torn;
        h.start(node).unwrap();
        let rt = h.runtime(node);
        for index in 0..3 {
            let path = format!("/f{index}");
            let found = match rt.disk().open(Path::new(&path), OpenOptions::READ).await {
                Ok(file) => Some(file.read_at(0, 1 << 24).await.unwrap().to_vec()),
                Err(_) => None,
            };
            let mut models = models.lock().unwrap();
            models[index].check(seed, &path, found.as_ref());
            let name_synced = models[index].name_synced && found.is_some();
            models[index] = Model { contents: vec![found.unwrap_or_default()], name_synced };
        }
    }
    losses
}

#[test]
fn no_power_loss_takes_what_a_sync_promised_or_makes_anything_up() {
    let mut losses = [0; 3];
    for seed in 0..400 {
        let (got, _) = run(seed, config(), |h| survive(seed, h, false));
        for (sum, n) in losses.iter_mut().zip(got) {
            *sum += n;
        }
    }
    let [kept, lost, torn] = losses;
    assert!(kept > 500 && lost > 500 && torn > 500, "kept {kept}, lost {lost}, torn {torn}");
}

#[test]
fn the_oracle_sees_a_disk_that_lies() {
    let caught = (0..40).filter(|&seed| {
        let mut sim = Sim::new(seed, config());
        let main = survive(seed, sim.handle(), true);
        matches!(sim.block_on(main), Err(SimError::Crash { .. }))
    });
    let caught = caught.count();
    assert!(caught > 30, "only {caught} of 40 lying disks were seen");
}
