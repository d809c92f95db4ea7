//! Looks after a store's flushes. Where the write that a flush waits for fails, sled 0.34.7 may note that and wake nobody
//! (`exit_reservation` in its logger): the flush never returns. Whoever flushes again finds the note and wakes all, so
//! a flush that takes long is flushed after, again and again, each time after twice as long.
//!
//! sled has one lock for all stores of a process. A flush shares it, stuck or not; a batch wants it alone, and who waits
//! for that lets no later flush pass, also not the one that would wake the first. So a batch does not wait in there while
//! a flush is under way, but out here for its turn.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use glovebox_core::limits::STORE_FLUSH_MS;

/// What such a thread needs: a channel and sled's own frames.
const STACK_BYTES: usize = 256 * 1024;

/// Of all stores, as sled's own lock is.
static TURN: Mutex<()> = Mutex::new(());

/// A flush or a batch goes on while it holds this.
pub(super) fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A thread that sleeps unless a flush is under way.
#[derive(Debug)]
pub(super) struct Guard {
    /// A flush begins, a flush ends.
    told: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Guard {
    pub(super) fn new(db: &sled::Db) -> io::Result<Self> {
        let db = db.clone();
        let (told, flushes) = channel();
        let run = move || look(&flushes, || flush_after(&db));
        let thread = Builder::new().name("store-guard".to_owned()).stack_size(STACK_BYTES).spawn(run)?;
        Ok(Self { told: Some(told), thread: Some(thread) })
    }

    /// sled's `flush`, which returns.
    pub(super) fn flush(&self, db: &sled::Db) -> sled::Result<()> {
        let _turn = turn();
        self.tell();
        let outcome = db.flush();
        self.tell();
        outcome.map(drop)
    }

    fn tell(&self) {
        // It lives as long as this does.
        let _ = self.told.as_ref().map(|told| told.send(()));
    }
}

impl Drop for Guard {
    /// Waits for the thread: the store can be opened again only when nobody holds it.
    fn drop(&mut self) {
        self.told = None;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// `after` is called while a flush takes too long.
fn look(flushes: &Receiver<()>, mut after: impl FnMut()) {
    while flushes.recv().is_ok() {
        let mut patience = Duration::from_millis(STORE_FLUSH_MS);
        loop {
            match flushes.recv_timeout(patience) {
                Ok(()) => break,
                Err(RecvTimeoutError::Timeout) => after(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
            patience *= 2;
        }
    }
}

/// On a thread of its own, since it may be as stuck as the one that it is to wake, whose turn it is.
fn flush_after(db: &sled::Db) {
    let db = db.clone();
    let run = move || {
        if let Err(error) = db.flush() {
            tracing::error!(target: "store", %error, "a flush was stuck behind a write that failed");
        }
    };
    if let Err(error) = Builder::new().name("store-flush".to_owned()).stack_size(STACK_BYTES).spawn(run) {
        tracing::error!(target: "store", %error, "a flush takes long, and no thread is to be had to look after it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use crate::store::table::Batch;
    use std::sync::mpsc::sync_channel;

    #[test]
    fn a_batch_that_waits_for_a_flush_keeps_no_other_flush_from_waking_it()
    -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let (stuck, _) = Store::open(&folder.path().join("stuck"))?;
        let (other, _) = Store::open(&folder.path().join("other"))?;
        let tree = other.tree("t")?;
        let flush = turn();
        let (told, done) = channel();
        let batch = std::thread::spawn(move || {
            let mut batch = Batch::default();
            batch.insert(b"k", b"v");
            told.send(tree.apply(&batch).is_ok())
        });
        assert!(done.recv_timeout(Duration::from_millis(300)).is_err(), "it waits");
        let (told, woken) = channel();
        let db = stuck.db.clone();
        std::thread::spawn(move || told.send(db.flush().is_ok()));
        assert_eq!(woken.recv_timeout(Duration::from_secs(20)), Ok(true), "and lets others pass");
        drop(flush);
        assert_eq!(done.recv_timeout(Duration::from_secs(20)), Ok(true));
        assert!(batch.join().is_ok_and(|sent| sent.is_ok()));
        Ok(())
    }

    #[test]
    fn a_flush_that_takes_long_is_looked_after_again_and_again() {
        let (told, flushes) = channel();
        let (called, calls) = sync_channel(8);
        let thread = std::thread::spawn(move || look(&flushes, || assert!(called.try_send(()).is_ok())));
        for _ in 0..20 {
            assert!(told.send(()).and_then(|()| told.send(())).is_ok(), "short ones");
        }
        assert!(calls.try_recv().is_err());
        assert!(told.send(()).is_ok(), "a long one");
        let long = Duration::from_millis(STORE_FLUSH_MS);
        assert!(calls.recv_timeout(long * 4).is_ok());
        assert!(calls.recv_timeout(long * 6).is_ok());
        assert!(told.send(()).is_ok(), "its end");
        assert!(calls.recv_timeout(long * 6).is_err());
        drop(told);
        assert!(thread.join().is_ok());
    }
}
