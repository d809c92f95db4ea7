//! Looks after a store's flushes. Where the write that a flush waits for fails, sled 0.34.7 may note that and wake nobody
//! (`exit_reservation` in its logger): the flush never returns. Whoever flushes again finds the note and wakes all, so
//! a flush that takes long is flushed after, again and again, each time after twice as long.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use glovebox_core::limits::STORE_FLUSH_MS;

/// What such a thread needs: a channel and sled's own frames.
const STACK_BYTES: usize = 256 * 1024;

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

/// On a thread of its own, since it may be as stuck as the one that it is to wake.
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
    use std::sync::mpsc::sync_channel;

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
