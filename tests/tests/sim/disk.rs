//! A disk that forgets at a power cut what was not synced: names each by itself, content by sectors, the length at any
//! of its steps. A sync that fails may have forgotten some of it already.
//!
//! ```text
//! now ──────── what programs see
//! pending ──── what was done since the last sync, in order; at a power cut each sector and name is kept, or not
//! durable ──── what is there after a power cut whatever happens
//! ```

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use glovebox::store::disk::{Disk, DiskFile, Open, Size};

use super::machine::{Machine, Op};

const BLOCK: u64 = 4096;

#[derive(Debug, Clone)]
enum Step {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl Step {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Length(length) => to.resize(*length, 0),
            Self::Write(offset, bytes) => {
                let end = offset + bytes.len();
                if to.len() < end {
                    to.resize(end, 0);
                }
                to[*offset..end].copy_from_slice(bytes);
            }
        }
    }
}

#[derive(Debug, Default)]
struct Content {
    now: Vec<u8>,
    pending: Vec<Step>,
    durable: Vec<u8>,
}

/// A folder is `None`, a file the number of its content.
type Node = Option<usize>;

#[derive(Debug, Default)]
struct State {
    contents: Vec<Content>,
    now: BTreeMap<PathBuf, Node>,
    /// Names made (or, if `None`, taken away) since their folder was synced.
    pending: Vec<(PathBuf, Option<Node>)>,
    durable: BTreeMap<PathBuf, Node>,
}

impl State {
    fn set(&mut self, path: &Path, node: Option<Node>) {
        match node {
            Some(node) => drop(self.now.insert(path.to_owned(), node)),
            None => drop(self.now.remove(path)),
        }
        self.pending.push((path.to_owned(), node));
    }

    /// A name becomes durable; without a folder nothing in it is there.
    fn settle(&mut self, path: PathBuf, node: Option<Node>) {
        match node {
            Some(node) => drop(self.durable.insert(path, node)),
            None => self.durable.retain(|other, _| !other.starts_with(&path)),
        }
    }

    fn children<'a>(&'a self, folder: &'a Path) -> impl Iterator<Item = &'a PathBuf> {
        self.now.keys().filter(move |path| path.parent() == Some(folder))
    }
}

/// How much of what was not synced survives a power cut.
#[derive(Debug, Clone, Copy)]
pub enum Survives {
    Nothing,
    /// So many of 100.
    Some(u64),
    All,
}

#[derive(Debug, Clone)]
pub struct SimDisk {
    machine: Machine,
    /// Bytes that are written together or not at all.
    sector: usize,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    content: usize,
    writes: bool,
}

impl SimDisk {
    pub fn new(machine: Machine, sector: usize) -> Self {
        Self { machine, sector, state: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn survives(&self, how: Survives) -> bool {
        match how {
            Survives::Nothing => false,
            Survives::Some(percent) => self.machine.below(100) < percent,
            Survives::All => true,
        }
    }

    /// The power goes and comes back.
    pub fn cut(&self, how: Survives) {
        let mut state = self.state();
        for (path, node) in std::mem::take(&mut state.pending) {
            if self.survives(how) {
                state.settle(path, node);
            }
        }
        // A name whose folder did not survive is gone with it.
        let kept = state.durable.clone();
        let whole =
            |path: &Path| path.ancestors().skip(1).all(|it| it == Path::new("/") || kept.contains_key(it));
        state.durable.retain(|path, _| whole(path));
        state.now = state.durable.clone();
        for content in &mut state.contents {
            self.cut_content(content, how);
        }
    }

    fn cut_content(&self, content: &mut Content, how: Survives) {
        let steps = std::mem::take(&mut content.pending);
        let mut length = content.durable.len();
        for step in &steps {
            if !self.survives(how) {
                break;
            }
            length = match step {
                Step::Length(length) => *length,
                Step::Write(offset, bytes) => length.max(offset + bytes.len()),
            };
        }
        let mut after = content.durable.clone();
        for step in &steps {
            let Step::Write(offset, bytes) = step else { continue };
            let (mut at, end) = (*offset, offset + bytes.len());
            while at < end {
                let next = (at / self.sector + 1) * self.sector;
                let to = next.min(end);
                if self.survives(how) {
                    Step::Write(at, bytes[at - offset..to - offset].to_vec()).apply(&mut after);
                }
                at = to;
            }
        }
        after.resize(length, 0);
        content.durable.clone_from(&after);
        content.now = after;
    }

    /// Flips a bit of a file that is there; answers which.
    pub fn rot(&self) -> Option<String> {
        let mut state = self.state();
        let found: Vec<(PathBuf, usize)> =
            state.now.iter().filter_map(|(path, node)| Some((path.clone(), (*node)?))).collect();
        let found: Vec<_> =
            found.into_iter().filter(|(_, content)| !state.contents[*content].durable.is_empty()).collect();
        let (path, content) =
            found.get(usize::try_from(self.machine.below(found.len().max(1) as u64)).ok()?)?;
        let content = &mut state.contents[*content];
        let length = content.durable.len() as u64;
        // Often in what was written last, which is looked at most.
        let within = if self.machine.below(3) == 0 { length.min(1000) } else { length };
        let at = usize::try_from(length - 1 - self.machine.below(within)).ok()?;
        let bit = 1 << self.machine.below(8);
        content.durable[at] ^= bit;
        if let Some(byte) = content.now.get_mut(at) {
            *byte ^= bit;
        }
        Some(format!("{} byte {at}", path.display()))
    }

    /// Whole blocks that files of this ending take, now.
    pub fn bytes_of(&self, ending: &str) -> u64 {
        let state = self.state();
        let files = state.now.iter().filter(|(path, _)| path.to_string_lossy().ends_with(ending));
        let lengths = files.filter_map(|(_, node)| Some(state.contents[(*node)?].now.len() as u64));
        lengths.map(|length| length.next_multiple_of(BLOCK)).sum()
    }

    /// What a power cut leaves of a file.
    pub fn durable(&self, path: &Path) -> Vec<u8> {
        let state = self.state();
        let content = state.durable.get(path).copied().flatten();
        content.map(|content| state.contents[content].durable.clone()).unwrap_or_default()
    }

    /// Every path that is there now or after a power cut.
    pub fn paths(&self) -> Vec<PathBuf> {
        let state = self.state();
        state.now.keys().chain(state.durable.keys()).cloned().collect()
    }

    /// Whether these bytes stand in any content that was ever written.
    pub fn holds(&self, needle: &[u8]) -> bool {
        let state = self.state();
        let finder = memchr::memmem::Finder::new(needle);
        let found = |bytes: &[u8]| finder.find(bytes).is_some();
        state.contents.iter().any(|content| found(&content.now) || found(&content.durable))
    }
}

fn missing() -> io::Error {
    ErrorKind::NotFound.into()
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>> {
        let known = self.state().now.get(path).copied();
        let op = match (how, known) {
            (Open::Read, _) | (_, Some(_)) => Op::Read,
            _ => Op::Grow,
        };
        self.machine.op(op)?;
        let mut state = self.state();
        let content = match (known, how) {
            (Some(Some(_)), Open::New) => return Err(ErrorKind::AlreadyExists.into()),
            (Some(Some(content)), _) => content,
            (Some(None), _) => return Err(ErrorKind::IsADirectory.into()),
            (None, Open::Read | Open::Write) => return Err(missing()),
            (None, Open::New | Open::Create) => {
                if path.parent().is_some_and(|folder| !state.now.contains_key(folder)) {
                    return Err(missing());
                }
                state.contents.push(Content::default());
                let content = state.contents.len() - 1;
                state.set(path, Some(Some(content)));
                content
            }
        };
        Ok(Box::new(SimFile { disk: self.clone(), content, writes: how != Open::Read }))
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        if self.is_folder(path) {
            return Ok(());
        }
        self.machine.op(Op::Grow)?;
        let mut above: Vec<&Path> = path.ancestors().collect();
        above.pop();
        for folder in above.into_iter().rev() {
            let mut state = self.state();
            if !state.now.contains_key(folder) {
                state.set(folder, Some(None));
            }
        }
        path.parent().map_or(Ok(()), |parent| self.sync_folder(parent))
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.machine.op(Op::Sync)?;
        let mut state = self.state();
        let (synced, rest) = std::mem::take(&mut state.pending)
            .into_iter()
            .partition::<Vec<_>, _>(|(name, _)| name.parent() == Some(path));
        state.pending = rest;
        synced.into_iter().for_each(|(name, node)| state.settle(name, node));
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        self.machine.op(Op::Read)?;
        let state = self.state();
        if !state.now.contains_key(path) {
            return Err(missing());
        }
        Ok(state.children(path).filter_map(|path| Some(path.file_name()?.to_owned())).collect())
    }

    fn is_folder(&self, path: &Path) -> bool {
        self.state().now.get(path) == Some(&None)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.machine.op(Op::Change)?;
        let mut state = self.state();
        match state.now.get(path) {
            Some(Some(_)) => {
                state.set(path, None);
                Ok(())
            }
            _ => Err(missing()),
        }
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.machine.op(Op::Change)?;
        let mut state = self.state();
        if state.children(path).next().is_some() {
            return Err(ErrorKind::DirectoryNotEmpty.into());
        }
        state.set(path, None);
        Ok(())
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(1 << 30)
    }
}

impl SimFile {
    fn change(&self, step: Step) -> io::Result<()> {
        let mut state = self.disk.state();
        if !self.writes {
            return Err(ErrorKind::PermissionDenied.into());
        }
        let content = &mut state.contents[self.content];
        step.apply(&mut content.now);
        content.pending.push(step);
        Ok(())
    }

    fn length(&self) -> usize {
        self.disk.state().contents[self.content].now.len()
    }
}

impl DiskFile for SimFile {
    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        self.disk.machine.op(Op::Read)?;
        let state = self.disk.state();
        let now = &state.contents[self.content].now;
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let found = now.get(from..from + out.len()).ok_or(ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let grows = from + bytes.len() > self.length();
        let outcome = self.disk.machine.op(if grows { Op::Grow } else { Op::Change });
        let mut written = bytes.len();
        if outcome.as_ref().is_err_and(|error| error.raw_os_error() != Some(30)) {
            // Any part of it may be there.
            written = usize::try_from(self.disk.machine.below(bytes.len() as u64 + 1)).unwrap_or(0);
        } else if outcome.is_err() {
            written = 0;
        }
        if written > 0 {
            self.change(Step::Write(from, bytes[..written].to_vec()))?;
        }
        outcome
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.disk.machine.op(Op::Change)?;
        self.change(Step::Length(usize::try_from(bytes).map_err(io::Error::other)?))
    }

    fn sync(&self) -> io::Result<()> {
        let outcome = self.disk.machine.op(Op::Sync);
        let mut state = self.disk.state();
        let content = &mut state.contents[self.content];
        for step in std::mem::take(&mut content.pending) {
            // What could not be written is forgotten by the kernel, as if it had been.
            if outcome.is_ok() || self.disk.machine.below(2) == 0 {
                step.apply(&mut content.durable);
            }
        }
        outcome
    }

    fn sync_and_forget(&self) -> io::Result<()> {
        self.sync()?;
        let mut state = self.disk.state();
        let content = &mut state.contents[self.content];
        content.now.clone_from(&content.durable);
        Ok(())
    }

    fn size(&self) -> io::Result<Size> {
        self.disk.machine.op(Op::Read)?;
        let length = self.length() as u64;
        Ok(Size { length, allocated: length.next_multiple_of(BLOCK) })
    }
}
