//! The tree of names, as programs see it. What the medium has of it differs by the changes of `journal.rs`.

use super::journal::Change;
use super::media::FileData;
use burnin_runtime::DirEntry;
use std::collections::BTreeMap;
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
pub(super) type Name = (u32, String);

/// See the module.
pub(crate) struct Namespace {
    pub(super) inodes: Vec<Option<Box<Inode>>>,
    /// In order; they lack on the medium.
    pub(super) changes: Vec<Change>,
    /// How many changes there ever were.
    pub(super) changed: u64,
    /// Inodes without a place: nothing else can be garbage.
    pub(super) orphans: Vec<u32>,
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
            Namespace { inodes: Vec::new(), changes: Vec::new(), changed: 0, orphans: Vec::new() };
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

    pub(super) fn entries(&mut self, inode: u32) -> io::Result<&mut BTreeMap<String, u32>> {
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
            self.orphans.push(replaced);
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
        self.orphans.push(inode);
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
}

impl Inode {
    fn size(&self) -> u64 {
        match &self.body {
            Body::File(data) => data.allocated(),
            Body::Dir { .. } => 0,
        }
    }
}
