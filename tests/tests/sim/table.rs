//! A store that forgets at its end what was not synced: of the batches since the last sync a beginning is kept.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use glovebox::store::table::Entries;
use glovebox::store::{Batch, Opened, StoreError, Table};

use super::machine::{Machine, Op};

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Debug, Default)]
struct State {
    now: Map,
    pending: Vec<Batch>,
    durable: Map,
    damaged: bool,
}

#[derive(Debug, Clone)]
pub struct SimTable {
    machine: Machine,
    name: &'static str,
    state: Arc<Mutex<State>>,
}

fn apply(batch: &Batch, to: &mut Map) {
    for (key, value) in batch.writes() {
        match value {
            Some(value) => drop(to.insert(key.to_vec(), value.to_vec())),
            None => drop(to.remove(key)),
        }
    }
}

impl SimTable {
    pub fn new(machine: Machine, name: &'static str) -> Self {
        Self { machine, name, state: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process has ended, whichever way.
    pub fn cut(&self) {
        let mut state = self.state();
        let pending = std::mem::take(&mut state.pending);
        let kept = usize::try_from(self.machine.below(pending.len() as u64 + 1)).unwrap_or(0);
        pending[..kept].iter().for_each(|batch| apply(batch, &mut state.durable));
        state.now = state.durable.clone();
    }

    /// Found damaged when it is opened next.
    pub fn rot(&self) {
        self.state().damaged = true;
    }

    /// What opening finds.
    pub fn opened(&self) -> Opened {
        let mut state = self.state();
        match std::mem::take(&mut *state) {
            damaged if damaged.damaged => Opened::SetAside(PathBuf::from(self.name)),
            sound if sound.durable.is_empty() => Opened::Fresh,
            sound => {
                *state = sound;
                Opened::Existing
            }
        }
    }

    /// The entries that a power cut would leave.
    pub fn durable(&self) -> Map {
        self.state().durable.clone()
    }

    /// Looks at the durable entries from the last one until `found` says so.
    pub fn any_durable(&self, found: impl FnMut((&Vec<u8>, &Vec<u8>)) -> bool) -> bool {
        self.state().durable.iter().rev().any(found)
    }

    fn failed(&self, error: &std::io::Error) -> StoreError {
        StoreError::Io { dir: PathBuf::from(self.name), what: error.to_string() }
    }

    fn op(&self, op: Op) -> Result<(), StoreError> {
        self.machine.op(op).map_err(|error| self.failed(&error))
    }
}

impl Table for SimTable {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.op(Op::Read)?;
        Ok(self.state().now.get(key).cloned())
    }

    fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        self.op(Op::Grow)?;
        let mut state = self.state();
        apply(batch, &mut state.now);
        state.pending.push(batch.clone());
        Ok(())
    }

    fn range(&self, from: &[u8], to: &[u8]) -> Entries<'_> {
        if let Err(error) = self.op(Op::Read) {
            return Box::new(std::iter::once(Err(error)));
        }
        let found: Vec<_> = self
            .state()
            .now
            .range(from.to_vec()..to.to_vec())
            .map(|(k, v)| Ok((k.clone(), v.clone())))
            .collect();
        Box::new(found.into_iter())
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.op(Op::Sync)?;
        let mut state = self.state();
        for batch in std::mem::take(&mut state.pending) {
            apply(&batch, &mut state.durable);
        }
        drop(state);
        self.machine.moment();
        Ok(())
    }

    fn size_on_disk(&self) -> Result<u64, StoreError> {
        let bytes: usize = self.state().now.iter().map(|(key, value)| key.len() + value.len()).sum();
        Ok((bytes as u64).next_multiple_of(4096))
    }
}
