//! The store of documents, tombstones, the file of rules and that of what is set in the car: each write is durable when it returns, or not done. With
//! each document it keeps what it means, in the model's words.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use glovebox::daemon::{rules, session};
use glovebox::policy_store::{Documents, PolicyStoreError};
use glovebox::store::files::FileError;
use glovebox_core::control::{Counters, Stored};
use glovebox_core::limits::{BUILD_DATE_US, MARK_STEP_US_MAX, MARK_STEP_US_MIN};
use glovebox_core::names::{FlowId, WallTime};

use super::machine::{Machine, Op};
use super::model::{Act, Model};

#[derive(Debug, Default)]
struct State {
    stored: Stored,
    mark_us: i64,
    rules: String,
    session: Option<String>,
    model: Arc<Model>,
    next: Option<Act>,
}

#[derive(Debug, Clone)]
pub struct SimDocuments {
    machine: Machine,
    state: Arc<Mutex<State>>,
}

impl SimDocuments {
    pub fn new(machine: Machine) -> Self {
        Self { machine, state: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the document that comes next means.
    pub fn expect(&self, act: Option<Act>) {
        self.state().next = act;
    }

    /// All that is durable.
    pub fn model(&self) -> Arc<Model> {
        Arc::clone(&self.state().model)
    }

    pub fn mark_us(&self) -> i64 {
        self.state().mark_us.max(BUILD_DATE_US)
    }

    fn write(&self, change: impl FnOnce(&mut State)) -> Result<(), FileError> {
        let failed =
            |source: io::Error| FileError::Io { act: "write", path: PathBuf::from("documents"), source };
        self.machine.op(Op::Grow).map_err(failed)?;
        change(&mut self.state());
        self.machine.moment();
        Ok(())
    }
}

impl Documents for SimDocuments {
    fn load(&self) -> Result<Stored, PolicyStoreError> {
        Ok(self.state().stored.clone())
    }

    fn put_policy(&mut self, bundle: &[u8], counters: Counters) -> Result<(), PolicyStoreError> {
        Ok(self.write(|state| {
            state.stored.policy = Some(bundle.to_vec());
            state.stored.floor = counters;
            if let Some(act) = state.next.take() {
                Arc::make_mut(&mut state.model).note(&act);
            }
        })?)
    }

    fn put_record(&mut self, record: &[u8]) -> Result<(), PolicyStoreError> {
        Ok(self.write(|state| {
            state.stored.records.push(record.to_vec());
            if let Some(act) = state.next.take() {
                Arc::make_mut(&mut state.model).note(&act);
            }
        })?)
    }

    fn tombstone(&mut self, flow: FlowId) -> Result<(), PolicyStoreError> {
        Ok(self.write(|state| {
            state.stored.tombstones.insert(flow);
            Arc::make_mut(&mut state.model).note(&Act::End(flow));
        })?)
    }

    fn mark(&self) -> WallTime {
        WallTime(self.mark_us())
    }

    fn raise_mark(&mut self, to: WallTime) -> Result<(), PolicyStoreError> {
        let mark = self.mark_us();
        let step = to.0.saturating_sub(mark).min(MARK_STEP_US_MAX);
        if step < MARK_STEP_US_MIN {
            return Ok(());
        }
        Ok(self.write(|state| state.mark_us = mark + step)?)
    }

    fn set_mark(&mut self, to: WallTime) -> Result<(), PolicyStoreError> {
        Ok(self.write(|state| state.mark_us = to.0)?)
    }
}

impl rules::Keep for SimDocuments {
    fn read(&self) -> String {
        self.state().rules.clone()
    }

    fn write(&self, text: &str) -> Result<(), FileError> {
        Self::write(self, |state| text.clone_into(&mut state.rules))
    }
}

impl session::Keep for SimDocuments {
    fn read(&self) -> Result<Option<Vec<u8>>, FileError> {
        Ok(self.state().session.clone().map(String::into_bytes))
    }

    fn write(&self, text: &str) -> Result<(), FileError> {
        Self::write(self, |state| {
            state.session = Some(text.to_owned());
            if let Some(act) = state.next.take() {
                Arc::make_mut(&mut state.model).note(&act);
            }
        })
    }
}
