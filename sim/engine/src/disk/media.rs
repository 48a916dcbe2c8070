//! The content of one file: what programs see (the page cache), and what is on the medium where that
//! differs. A page that was synced has one copy; a page that was written since keeps what a power loss could
//! bring back.
//!
//! Can: after a power loss, each unsynced page is new, old, or a mix of sectors of both, in any combination;
//! the size is old, new, or anything between (a size ahead of the data reads as zeros). After a failed sync
//! the pages are clean although the medium does not have them.
//! Never: a byte that a sync promised is changed by a power loss; a sector is torn; a page that was not
//! written is touched. `power_loss` asserts where sizes, and the sectors of torn pages, come from.

use burnin_runtime::Entropy;
use bytes::{Bytes, BytesMut};

/// Bytes of a page.
pub(crate) const PAGE: usize = 4096;
/// Bytes of a sector: what the medium writes as a whole.
pub(crate) const SECTOR: usize = 512;

type Page = Box<[u8; PAGE]>;

fn empty_page() -> Page {
    vec![0; PAGE].into_boxed_slice().try_into().expect("it has a page's size")
}

/// A page as programs see it; `None` reads as zeros.
#[derive(Clone, Default)]
struct Cached {
    data: Option<Page>,
    /// Not in the page cache: reading it takes the medium's time.
    cold: bool,
}

/// What a page was before a write.
enum Image {
    /// The first bytes of what it is now, and zeros: it was only appended to.
    Prefix(usize),
    /// Something else; `None` is zeros.
    Copy(Option<Page>),
}

impl Image {
    /// Whether a write from byte `from` on would change it.
    fn reaches(&self, from: usize) -> bool {
        matches!(self, Image::Prefix(len) if *len > from)
    }

    fn into_page(self, now: &Option<Page>) -> Option<Page> {
        match self {
            Image::Prefix(0) => None,
            Image::Prefix(len) => now.clone().map(|mut page| {
                page[len..].fill(0);
                page
            }),
            Image::Copy(page) => page,
        }
    }
}

/// What a page was after a write that a sync may have made durable.
struct Version {
    /// The last write that is in it.
    write: u64,
    image: Image,
}

/// A page whose cached content the medium may lack.
struct Dirty {
    index: u32,
    /// The last write to it.
    write: u64,
    /// What the medium surely has.
    durable: Image,
    /// What it may have since; oldest first.
    later: Vec<Version>,
    /// A sync failed and marked the page clean: later syncs do not write it.
    dropped: bool,
}

impl Dirty {
    fn images(&self) -> impl Iterator<Item = &Image> {
        std::iter::once(&self.durable).chain(self.later.iter().map(|version| &version.image))
    }
}

/// How one power loss treats unsynced pages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LossPlan {
    /// The probability that a page keeps its newest content.
    pub(crate) keep: f64,
    /// The probability that a page is torn.
    pub(crate) tear: f64,
}

/// What a power loss did to pages and sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PageLoss {
    pub(crate) kept: u64,
    pub(crate) lost: u64,
    pub(crate) torn: u64,
    pub(crate) resized: u64,
}

/// A sync that is under way covers everything up to `write`, and the size at its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SyncPoint {
    write: u64,
    len: u64,
}

/// The content of a file.
#[derive(Default)]
pub(crate) struct FileData {
    pages: Vec<Cached>,
    len: u64,
    durable_len: u64,
    /// By index.
    dirty: Vec<Dirty>,
    writes: u64,
    syncs: Vec<SyncPoint>,
    allocated: u64,
}

impl FileData {
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The size that a power loss cannot take away.
    pub(crate) fn durable_len(&self) -> u64 {
        self.durable_len
    }

    /// Pages that a power loss could change.
    pub(crate) fn dirty_pages(&self) -> usize {
        self.dirty.len()
    }

    /// Bytes of pages that hold data.
    pub(crate) fn allocated(&self) -> u64 {
        self.allocated
    }

    /// Bytes that a write of this range would allocate.
    pub(crate) fn would_allocate(&self, offset: u64, len: u64) -> u64 {
        if len == 0 {
            return 0;
        }
        let pages = offset / PAGE as u64..=(offset + len - 1) / PAGE as u64;
        let missing = pages.filter(|&p| self.pages.get(p as usize).is_none_or(|page| page.data.is_none()));
        missing.count() as u64 * PAGE as u64
    }

    /// Whether a read of this range needs the medium.
    pub(crate) fn is_cold(&self, offset: u64, len: usize) -> bool {
        let end = self.len.min(offset.saturating_add(len as u64));
        offset < end && (offset / PAGE as u64..=(end - 1) / PAGE as u64).any(|p| self.pages[p as usize].cold)
    }

    /// Reads what is there, and leaves it in the page cache.
    pub(crate) fn read(&mut self, offset: u64, len: usize) -> Bytes {
        let end = self.len.min(offset.saturating_add(len as u64));
        if offset >= end {
            return Bytes::new();
        }
        let mut out = BytesMut::with_capacity((end - offset) as usize);
        let mut at = offset;
        while at < end {
            let (index, from) = ((at / PAGE as u64) as usize, (at % PAGE as u64) as usize);
            let to = PAGE.min(from + (end - at) as usize);
            let page = &mut self.pages[index];
            page.cold = false;
            match &page.data {
                Some(data) => out.extend_from_slice(&data[from..to]),
                None => out.resize(out.len() + to - from, 0),
            }
            at += (to - from) as u64;
        }
        out.freeze()
    }

    /// Writes the buffers one after the other, as one write.
    pub(crate) fn write(&mut self, offset: u64, data: &[Bytes]) {
        self.writes += 1;
        let mut at = offset;
        for mut part in data.iter().map(|bytes| &bytes[..]) {
            while !part.is_empty() {
                let (index, from) = ((at / PAGE as u64) as usize, (at % PAGE as u64) as usize);
                let bytes = part.len().min(PAGE - from);
                self.touch(index, from, bytes == PAGE);
                let page = self.pages[index].data.as_mut().expect("touched pages hold data");
                page[from..from + bytes].copy_from_slice(&part[..bytes]);
                part = &part[bytes..];
                at += bytes as u64;
            }
        }
        if at > offset {
            self.len = self.len.max(at);
        }
    }

    /// Cuts or extends with zeros.
    pub(crate) fn set_len(&mut self, len: u64) {
        self.writes += 1;
        if len < self.len {
            let first_gone = len.div_ceil(PAGE as u64) as usize;
            for index in first_gone..self.pages.len() {
                if self.pages[index].data.is_some() {
                    self.touch(index, 0, false);
                    self.pages[index].data = None;
                    self.allocated -= PAGE as u64;
                }
            }
            self.pages.truncate(first_gone);
            let (tail, from) = ((len / PAGE as u64) as usize, (len % PAGE as u64) as usize);
            if from > 0 && self.pages[tail].data.is_some() {
                self.touch(tail, from, false);
                self.pages[tail].data.as_mut().expect("checked above")[from..].fill(0);
            }
        }
        self.len = len;
        self.pages.resize_with(len.div_ceil(PAGE as u64) as usize, Cached::default);
    }

    /// Makes a page dirty for a write that changes it from byte `from` on, keeping what a power loss could
    /// bring back. When all of it is going to be `replaced`, its old content is moved instead of copied.
    fn touch(&mut self, index: usize, from: usize, replaced: bool) {
        if self.pages.len() <= index {
            self.pages.resize_with(index + 1, Cached::default);
        }
        let used = self.len.saturating_sub((index * PAGE) as u64).min(PAGE as u64) as usize;
        let place = self.find(index);
        let dirty = place.ok().map(|place| &self.dirty[place]);
        // A sync under way may make the present content durable.
        let may_sync = |dirty: &Dirty| {
            let known = dirty.later.last().map_or(0, |version| version.write);
            let (write, now) = (dirty.write, self.writes);
            known < write && write < now && self.syncs.iter().any(|sync| sync.write >= write)
        };
        let may_sync = dirty.is_some_and(may_sync);
        let wanted = may_sync || dirty.is_none_or(|dirty| dirty.images().any(|image| image.reaches(from)));
        let page = &mut self.pages[index];
        page.cold = false;
        let present = page.data.is_some();
        let now = if !wanted {
            Image::Prefix(0)
        } else if from >= used {
            Image::Prefix(used)
        } else if replaced {
            Image::Copy(page.data.take())
        } else {
            Image::Copy(page.data.clone())
        };
        match place {
            Err(place) => {
                let (index, write) = (index as u32, self.writes);
                let dirty = Dirty { index, write, durable: now, later: Vec::new(), dropped: false };
                self.dirty.insert(place, dirty);
            }
            Ok(place) => {
                let dirty = &mut self.dirty[place];
                let before = if let Image::Copy(page) = &now { page } else { &None };
                let later = dirty.later.iter_mut().map(|version| &mut version.image);
                for image in std::iter::once(&mut dirty.durable).chain(later) {
                    if image.reaches(from) {
                        let prefix = std::mem::replace(image, Image::Prefix(0));
                        *image = Image::Copy(prefix.into_page(before));
                    }
                }
                if may_sync {
                    dirty.later.push(Version { write: dirty.write, image: now });
                }
                dirty.write = self.writes;
                dirty.dropped = false;
            }
        }
        if !present {
            self.allocated += PAGE as u64;
        }
        self.pages[index].data.get_or_insert_with(empty_page);
    }

    /// Where a page is among the dirty ones, or would be. Most writes are at the end.
    fn find(&self, index: usize) -> Result<usize, usize> {
        match self.dirty.last() {
            Some(last) if last.index as usize >= index => {
                self.dirty.binary_search_by_key(&(index as u32), |dirty| dirty.index)
            }
            _ => Err(self.dirty.len()),
        }
    }

    /// A sync begins.
    pub(crate) fn sync_begin(&mut self) -> SyncPoint {
        let point = SyncPoint { write: self.writes, len: self.len };
        self.syncs.push(point);
        point
    }

    fn sync_end(&mut self, point: SyncPoint) {
        let index = self.syncs.iter().position(|&p| p == point).expect("a sync ends once");
        self.syncs.remove(index);
    }

    /// A sync ends well: what was written before it began is durable.
    pub(crate) fn sync_done(&mut self, point: SyncPoint) {
        self.sync_end(point);
        self.dirty.retain_mut(|dirty| {
            if dirty.dropped {
                return true;
            }
            if dirty.write <= point.write {
                return false;
            }
            if let Some(durable) = dirty.later.iter().rposition(|version| version.write <= point.write) {
                let version = dirty.later.drain(..=durable).next_back().expect("the range has an end");
                dirty.durable = version.image;
            }
            true
        });
        self.durable_len = point.len;
    }

    /// A sync fails: each page reached the medium or not, and none of them is dirty any more.
    pub(crate) fn sync_failed(&mut self, point: SyncPoint, entropy: &mut Entropy) {
        self.sync_end(point);
        let written = entropy.unit();
        self.dirty.retain_mut(|dirty| {
            if dirty.dropped || dirty.write > point.write {
                return true;
            }
            dirty.dropped = true;
            !entropy.chance(written)
        });
        if entropy.chance(0.5) {
            self.durable_len = point.len;
        }
    }

    /// The sync never happens (its process died).
    pub(crate) fn sync_cancel(&mut self, point: SyncPoint) {
        self.sync_end(point);
    }

    /// The power goes: what is on the medium is all there is.
    pub(crate) fn power_loss(&mut self, plan: LossPlan, entropy: &mut Entropy) -> PageLoss {
        assert!(self.syncs.is_empty(), "{} syncs outlived their process", self.syncs.len());
        let mut loss = PageLoss::default();
        let len = self.surviving_len(plan, entropy);
        loss.resized = u64::from(len != self.len);
        let (low, high) = (self.len.min(self.durable_len), self.len.max(self.durable_len));
        assert!((low..=high).contains(&len), "size {len} is neither {low} nor {high} nor between");
        for dirty in std::mem::take(&mut self.dirty) {
            let index = dirty.index as usize;
            if self.pages.len() <= index {
                self.pages.resize_with(index + 1, Cached::default);
            }
            let cut_off = (index * PAGE) as u64 >= self.len;
            let newest = self.pages[index].data.take();
            let keep = !dirty.dropped && !cut_off && entropy.chance(plan.keep);
            let images = std::iter::once(dirty.durable).chain(dirty.later.into_iter().map(|v| v.image));
            let mut candidates: Vec<Option<Page>> = images.map(|image| image.into_page(&newest)).collect();
            let survivor = if dirty.dropped || cut_off {
                loss.lost += 1;
                candidates.swap_remove(0)
            } else if entropy.chance(plan.tear) {
                loss.torn += 1;
                candidates.push(newest);
                tear(&candidates, entropy)
            } else if keep {
                loss.kept += 1;
                newest
            } else {
                loss.lost += 1;
                let index = entropy.below(candidates.len() as u64) as usize;
                candidates.swap_remove(index)
            };
            self.pages[index].data = survivor;
        }
        // The size rules what is visible; what lies behind it is gone.
        self.len = len;
        self.durable_len = len;
        self.pages.resize_with(len.div_ceil(PAGE as u64) as usize, Cached::default);
        let from = (len % PAGE as u64) as usize;
        if from > 0
            && let Some(data) = self.pages.last_mut().and_then(|page| page.data.as_mut())
        {
            data[from..].fill(0);
        }
        self.allocated = 0;
        for page in &mut self.pages {
            page.cold = page.data.is_some();
            self.allocated += if page.data.is_some() { PAGE as u64 } else { 0 };
        }
        loss
    }

    /// The size after a power loss: the synced one, the newest one, or one between.
    fn surviving_len(&mut self, plan: LossPlan, entropy: &mut Entropy) -> u64 {
        let (low, high) = (self.len.min(self.durable_len), self.len.max(self.durable_len));
        if low == high {
            return high;
        }
        match entropy.unit() {
            x if x < plan.keep => self.len,
            x if x < plan.keep + (1.0 - plan.keep) * 0.6 => self.durable_len,
            _ => entropy.between(low, high),
        }
    }

    /// Flips one bit of a byte that is on the medium; `None` when there is none at `offset`.
    pub(crate) fn rot(&mut self, offset: u64, bit: u32) -> Option<()> {
        let index = (offset / PAGE as u64) as usize;
        if offset >= self.len.min(self.durable_len) || self.find(index).is_ok() {
            return None;
        }
        let data = self.pages[index].data.as_mut()?;
        data[(offset % PAGE as u64) as usize] ^= 1 << bit;
        Some(())
    }

    /// Offsets of pages that are on the medium as programs see them.
    pub(crate) fn clean_pages(&self) -> impl Iterator<Item = u64> {
        let held = self.pages.iter().enumerate().filter(|(_, page)| page.data.is_some());
        held.filter(|(index, _)| self.find(*index).is_err())
            .map(|(index, _)| (index * PAGE) as u64)
            .filter(|&offset| offset < self.durable_len.min(self.len))
    }
}

/// Each sector from one of the candidates, and not all from one if they differ.
fn tear(candidates: &[Option<Page>], entropy: &mut Entropy) -> Option<Page> {
    let mut torn = empty_page();
    for (sector, out) in torn.chunks_mut(SECTOR).enumerate() {
        let pick = &candidates[entropy.below(candidates.len() as u64) as usize];
        if let Some(page) = pick {
            out.copy_from_slice(&page[sector * SECTOR..(sector + 1) * SECTOR]);
        }
        let known = candidates.iter().any(|c| match c {
            Some(page) => page[sector * SECTOR..(sector + 1) * SECTOR] == *out,
            None => out.iter().all(|&byte| byte == 0),
        });
        assert!(known, "sector {sector} of a torn page comes from nowhere");
    }
    Some(torn)
}
