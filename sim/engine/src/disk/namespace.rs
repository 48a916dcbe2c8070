//! The tree of names: what programs see, and what is on the medium. They differ by a list of operations
//! that no directory sync has made durable.
//!
//! Can: after a power loss each such operation (a created name, a removed name, a rename) is kept or lost by
//! itself; two of them on the same name are kept or lost in order.
//! Never: a rename is half done (both names, or none); a name that a sync of its directory promised is lost;
//! a name refers to a file that was never it.

use super::media::FileData;
use burnin_runtime::{DirEntry, Entropy};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path};

pub(crate) const ROOT: u32 = 0;

/// A file or a directory, whatever its name is.
pub(crate) struct Inode {
    pub(crate) body: Body,
    /// The directory and the name by which programs reach it; `None` once it was removed.
    pub(crate) place: Option<(u32, String)>,
    pub(crate) opens: u32,
    pub(crate) lock: Option<u64>,
}

pub(crate) enum Body {
    File(Box<FileData>),
    Dir {
        entries: BTreeMap<String, u32>,
        /// The entries that are on the medium.
        durable: BTreeMap<String, u32>,
    },
}

/// A name in a directory.
type Name = (u32, String);

/// An operation that a power loss may take back.
#[derive(Debug)]
struct Change {
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

/// See the module.
pub(crate) struct Namespace {
    inodes: Vec<Option<Box<Inode>>>,
    changes: Vec<Change>,
    /// How many changes were ever dropped from the front or the middle: the number of the first one.
    numbers: Vec<u64>,
    next: u64,
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

/// The components of a path from the root.
pub(crate) fn components(path: &Path) -> io::Result<Vec<String>> {
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            Component::ParentDir => {
                parts.pop();
            }
            Component::Normal(part) => match part.to_str() {
                Some(part) => parts.push(part.to_owned()),
                None => return Err(io::Error::new(io::ErrorKind::InvalidInput, "the name is not UTF-8")),
            },
        }
    }
    Ok(parts)
}

impl Namespace {
    pub(crate) fn new() -> Self {
        let mut namespace =
            Namespace { inodes: Vec::new(), changes: Vec::new(), numbers: Vec::new(), next: 0 };
        namespace.add(Body::Dir { entries: BTreeMap::new(), durable: BTreeMap::new() });
        namespace
    }

    fn add(&mut self, body: Body) -> u32 {
        self.inodes.push(Some(Box::new(Inode { body, place: None, opens: 0, lock: None })));
        (self.inodes.len() - 1) as u32
    }

    pub(crate) fn inode(&mut self, inode: u32) -> &mut Inode {
        self.inodes[inode as usize].as_deref_mut().expect("names and handles keep inodes")
    }

    pub(crate) fn file(&mut self, inode: u32) -> &mut FileData {
        match &mut self.inode(inode).body {
            Body::File(data) => data,
            Body::Dir { .. } => unreachable!("inode {inode} is a directory and was opened as a file"),
        }
    }

    fn entries(&mut self, inode: u32) -> io::Result<&mut BTreeMap<String, u32>> {
        match &mut self.inode(inode).body {
            Body::Dir { entries, .. } => Ok(entries),
            Body::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn is_dir(&mut self, inode: u32) -> bool {
        matches!(self.inode(inode).body, Body::Dir { .. })
    }

    /// The inode at a path.
    pub(crate) fn lookup(&mut self, path: &Path) -> io::Result<u32> {
        let mut inode = ROOT;
        for part in components(path)? {
            inode = *self.entries(inode)?.get(&part).ok_or_else(not_found)?;
        }
        Ok(inode)
    }

    /// The directory and the last name of a path.
    fn parent(&mut self, path: &Path) -> io::Result<Name> {
        let mut parts = components(path)?;
        let name = parts.pop().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let mut inode = ROOT;
        for part in parts {
            inode = *self.entries(inode)?.get(&part).ok_or_else(not_found)?;
        }
        self.entries(inode)?;
        Ok((inode, name))
    }

    /// The path by which programs reach an inode; `None` once it was removed.
    pub(crate) fn path(&self, mut inode: u32) -> Option<String> {
        let mut path = String::new();
        while inode != ROOT {
            let (parent, name) = self.inodes[inode as usize].as_ref()?.place.as_ref()?;
            path.insert_str(0, name);
            path.insert(0, '/');
            inode = *parent;
        }
        Some(path)
    }

    fn change(&mut self, from: Option<Name>, to: Option<Name>, inode: u32) {
        self.changes.push(Change { from, to, inode });
        self.numbers.push(self.next);
        self.next += 1;
    }

    fn link(&mut self, (parent, name): Name, inode: u32) -> io::Result<()> {
        self.entries(parent)?.insert(name.clone(), inode);
        self.inode(inode).place = Some((parent, name));
        Ok(())
    }

    /// A new file.
    pub(crate) fn create(&mut self, path: &Path) -> io::Result<u32> {
        let name = self.parent(path)?;
        let inode = self.add(Body::File(Box::default()));
        self.link(name.clone(), inode)?;
        self.change(None, Some(name), inode);
        Ok(inode)
    }

    pub(crate) fn create_dir_all(&mut self, path: &Path) -> io::Result<()> {
        let mut inode = ROOT;
        for part in components(path)? {
            inode = match self.entries(inode)?.get(&part) {
                Some(&found) => found,
                None => {
                    let name = (inode, part);
                    let dir = self.add(Body::Dir { entries: BTreeMap::new(), durable: BTreeMap::new() });
                    self.link(name.clone(), dir)?;
                    self.change(None, Some(name), dir);
                    dir
                }
            };
        }
        self.entries(inode).map(|_| ())
    }

    pub(crate) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (self.parent(from)?, self.parent(to)?);
        let inode = *self.entries(from.0)?.get(&from.1).ok_or_else(not_found)?;
        let mut above = to.0;
        while let Some((parent, _)) = self.inode(above).place.clone() {
            if above == inode {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            above = parent;
        }
        if let Some(&replaced) = self.entries(to.0)?.get(&to.1) {
            if replaced == inode {
                return Ok(());
            }
            match (self.is_dir(inode), self.is_dir(replaced)) {
                (false, true) => return Err(io::ErrorKind::IsADirectory.into()),
                (true, false) => return Err(io::ErrorKind::NotADirectory.into()),
                (true, true) if !self.entries(replaced)?.is_empty() => {
                    return Err(io::ErrorKind::DirectoryNotEmpty.into());
                }
                _ => {}
            }
            self.inode(replaced).place = None;
        }
        self.entries(from.0)?.remove(&from.1);
        self.link(to.clone(), inode)?;
        self.change(Some(from), Some(to), inode);
        Ok(())
    }

    pub(crate) fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        let name = self.parent(path)?;
        let inode = *self.entries(name.0)?.get(&name.1).ok_or_else(not_found)?;
        if self.is_dir(inode) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        self.unlink(name, inode)
    }

    fn unlink(&mut self, name: Name, inode: u32) -> io::Result<()> {
        self.entries(name.0)?.remove(&name.1);
        self.inode(inode).place = None;
        self.change(Some(name), None, inode);
        Ok(())
    }

    pub(crate) fn remove_dir_all(&mut self, path: &Path) -> io::Result<()> {
        let name = self.parent(path)?;
        let inode = *self.entries(name.0)?.get(&name.1).ok_or_else(not_found)?;
        self.remove_tree(name, inode)
    }

    fn remove_tree(&mut self, name: Name, inode: u32) -> io::Result<()> {
        let children: Vec<_> =
            self.entries(inode)?.iter().map(|(name, &child)| (name.clone(), child)).collect();
        for (child_name, child) in children {
            if self.is_dir(child) {
                self.remove_tree((inode, child_name), child)?;
            } else {
                self.unlink((inode, child_name), child)?;
            }
        }
        self.unlink(name, inode)
    }

    pub(crate) fn list(&mut self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let inode = self.lookup(path)?;
        let entries = self.entries(inode)?.clone();
        let entry = |(name, inode)| match &self.inode(inode).body {
            Body::File(data) => DirEntry { name, is_dir: false, len: data.len() },
            Body::Dir { .. } => DirEntry { name, is_dir: true, len: 0 },
        };
        Ok(entries.into_iter().map(entry).collect())
    }

    /// A sync of a directory begins: it covers the changes up to this number.
    pub(crate) fn sync_begin(&self) -> u64 {
        self.next
    }

    /// It ends: the covered changes of the directory are durable, and those that they rest on.
    pub(crate) fn sync_done(&mut self, dir: u32, covered: u64) {
        let mut keep = BTreeSet::new();
        let mut names: BTreeSet<Name> = BTreeSet::new();
        for index in (0..self.changes.len()).rev() {
            let change = &self.changes[index];
            if self.numbers[index] >= covered {
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
        let numbers = std::mem::take(&mut self.numbers);
        for (index, (change, number)) in changes.into_iter().zip(numbers).enumerate() {
            if durable(index) {
                self.make_durable(change);
            } else {
                self.changes.push(change);
                self.numbers.push(number);
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
        self.numbers.clear();
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
        let mut live: BTreeSet<u32> = self.changes.iter().map(|change| change.inode).collect();
        for (index, inode) in self.inodes.iter().enumerate() {
            let Some(inode) = inode else { continue };
            if inode.place.is_some() || inode.opens > 0 || inode.lock.is_some() || index == ROOT as usize {
                live.insert(index as u32);
            }
        }
        // A directory that lives keeps its durable entries, and so on downwards.
        let mut todo: Vec<u32> = live.iter().copied().collect();
        while let Some(index) = todo.pop() {
            if let Some(inode) = &self.inodes[index as usize]
                && let Body::Dir { durable, .. } = &inode.body
            {
                todo.extend(durable.values().copied().filter(|&child| live.insert(child)));
            }
        }
        for (index, inode) in self.inodes.iter_mut().enumerate() {
            if !live.contains(&(index as u32)) {
                *inode = None;
            }
        }
    }

    /// Bytes of pages of everything that programs can reach.
    pub(crate) fn allocated(&self) -> u64 {
        let inodes = self.inodes.iter().filter_map(|inode| inode.as_deref());
        inodes.filter(|inode| inode.place.is_some() || inode.opens > 0).map(Inode::size).sum()
    }

    /// Every file that has a name, by path.
    pub(crate) fn files(&mut self) -> Vec<(String, u32)> {
        let mut files = Vec::new();
        for index in 0..self.inodes.len() as u32 {
            let is_file =
                self.inodes[index as usize].as_ref().is_some_and(|i| matches!(i.body, Body::File(_)));
            if is_file && let Some(path) = self.path(index) {
                files.push((path, index));
            }
        }
        files.sort_unstable();
        files
    }

    /// The content of every file that is left, named or not.
    pub(crate) fn contents(&mut self) -> impl Iterator<Item = &mut FileData> {
        self.inodes.iter_mut().flatten().filter_map(|inode| match &mut inode.body {
            Body::File(data) => Some(&mut **data),
            Body::Dir { .. } => None,
        })
    }

    /// The process died: what it held open or locked is free.
    pub(crate) fn release_all(&mut self) {
        for inode in self.inodes.iter_mut().flatten() {
            inode.opens = 0;
            inode.lock = None;
        }
        self.collect();
    }

    /// How many changes a power loss could take back.
    pub(crate) fn pending(&self) -> usize {
        self.changes.len()
    }
}

impl Inode {
    fn size(&self) -> u64 {
        match &self.body {
            Body::File(data) => data.allocated(),
            Body::Dir { .. } => 0,
        }
    }
}
