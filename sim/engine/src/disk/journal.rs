//! Changes of names that are not durable yet.
//!
//! Can: after a power loss each such change (a created name, a removed name, a rename) is kept or lost by
//! itself; two of them on the same name are kept or lost in order.
//! Never: a rename is half done (both names, or none); a name that a sync of its directory promised is lost;
//! a name refers to a file that was never it.

use super::namespace::{Body, Name, Namespace, ROOT};
use burnin_runtime::Entropy;
use std::collections::{BTreeMap, BTreeSet};

/// An operation that a power loss may take back.
pub(super) struct Change {
    number: u64,
    /// The name that goes, if any.
    from: Option<Name>,
    /// The name that comes, if any.
    to: Option<Name>,
    inode: u32,
}

impl Change {
    fn names(&self) -> impl Iterator<Item = &Name> {
        self.from.iter().chain(&self.to)
    }
}

impl Namespace {
    pub(super) fn change(&mut self, from: Option<Name>, to: Option<Name>, inode: u32) {
        self.changed += 1;
        self.changes.push(Change { number: self.changed, from, to, inode });
    }

    /// A sync of a directory begins: it covers the changes up to this number.
    pub(crate) fn sync_begin(&self) -> u64 {
        self.changed
    }

    /// It ends: the covered changes of the directory are durable, and those that they rest on.
    pub(crate) fn sync_done(&mut self, dir: u32, covered: u64) {
        let mut keep = BTreeSet::new();
        let mut names: BTreeSet<Name> = BTreeSet::new();
        for index in (0..self.changes.len()).rev() {
            let change = &self.changes[index];
            if change.number > covered {
                continue;
            }
            if change.names().any(|name| name.0 == dir || names.contains(name)) {
                names.extend(change.names().cloned());
                keep.insert(index);
            }
        }
        self.settle(|index| keep.contains(&index));
    }

    /// Makes some changes durable, in order; the others stay pending.
    fn settle(&mut self, mut durable: impl FnMut(usize) -> bool) {
        let changes = std::mem::take(&mut self.changes);
        for (index, change) in changes.into_iter().enumerate() {
            if durable(index) {
                self.make_durable(change);
            } else {
                self.changes.push(change);
            }
        }
        self.collect();
    }

    fn make_durable(&mut self, change: Change) {
        if let Some((dir, name)) = change.from
            && let Some(entries) = self.durable(dir)
            && entries.get(&name) == Some(&change.inode)
        {
            entries.remove(&name);
        }
        if let Some((dir, name)) = change.to
            && let Some(entries) = self.durable(dir)
        {
            entries.insert(name, change.inode);
        }
    }

    fn durable(&mut self, dir: u32) -> Option<&mut BTreeMap<String, u32>> {
        match &mut self.inodes[dir as usize].as_deref_mut()?.body {
            Body::Dir { durable, .. } => Some(durable),
            Body::File(_) => None,
        }
    }

    /// The power goes: each pending change is kept with probability `keep`, unless an earlier one on the same
    /// name was lost. Gives how many were kept and lost.
    pub(crate) fn power_loss(&mut self, keep: f64, entropy: &mut Entropy) -> (u64, u64) {
        let mut lost_names: BTreeSet<Name> = BTreeSet::new();
        let (mut kept, mut lost) = (0, 0);
        let changes = std::mem::take(&mut self.changes);
        for change in changes {
            let lives = entropy.chance(keep) && !change.names().any(|name| lost_names.contains(name));
            if lives {
                kept += 1;
                self.make_durable(change);
            } else {
                lost += 1;
                lost_names.extend(change.names().cloned());
            }
        }
        for inode in self.inodes.iter_mut().flatten() {
            inode.place = None;
            inode.opens = 0;
            inode.lock = None;
            if let Body::Dir { entries, durable } = &mut inode.body {
                entries.clone_from(durable);
            }
        }
        self.place_tree(ROOT);
        self.orphans.clear();
        for (index, inode) in self.inodes.iter().enumerate().skip(ROOT as usize + 1) {
            if inode.as_ref().is_some_and(|inode| inode.place.is_none()) {
                self.orphans.push(index as u32);
            }
        }
        self.collect();
        (kept, lost)
    }

    /// Tells every reachable inode where it is.
    fn place_tree(&mut self, dir: u32) {
        let Ok(entries) = self.entries(dir) else { return };
        for (name, inode) in entries.clone() {
            self.inode(inode).place = Some((dir, name));
            self.place_tree(inode);
        }
    }

    /// Drops inodes that no program can reach any more and that no power loss can bring back.
    pub(crate) fn collect(&mut self) {
        let held = |&index: &u32| {
            let inode = self.inodes[index as usize].as_ref().expect("an orphan exists until it is dropped");
            inode.opens > 0 || inode.lock.is_some() || self.changes.iter().any(|change| change.inode == index)
        };
        if self.orphans.iter().all(held) {
            return;
        }
        let live = self.mark();
        let inodes = &mut self.inodes;
        self.orphans.retain(|&index| {
            if !live[index as usize] {
                inodes[index as usize] = None;
            }
            live[index as usize]
        });
    }

    /// Which inodes can still be reached, by a program or after a power loss.
    fn mark(&self) -> Vec<bool> {
        let mut live = vec![false; self.inodes.len()];
        for change in &self.changes {
            live[change.inode as usize] = true;
        }
        for (index, inode) in self.inodes.iter().enumerate() {
            let Some(inode) = inode else { continue };
            live[index] |= inode.place.is_some() || inode.opens > 0 || inode.lock.is_some();
        }
        live[ROOT as usize] = true;
        // A directory that lives keeps its durable entries, and so on downwards.
        let mut todo: Vec<u32> =
            (0..self.inodes.len() as u32).filter(|&index| live[index as usize]).collect();
        while let Some(index) = todo.pop() {
            if let Some(inode) = &self.inodes[index as usize]
                && let Body::Dir { durable, .. } = &inode.body
            {
                let children = durable.values().copied();
                todo.extend(children.filter(|&child| !std::mem::replace(&mut live[child as usize], true)));
            }
        }
        live
    }

    /// How many changes a power loss could take back.
    pub(crate) fn pending(&self) -> usize {
        self.changes.len()
    }
}
