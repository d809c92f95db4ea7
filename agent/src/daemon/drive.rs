//! The pipeline thread: takes frames from the bus, hands closed batches to custody, swaps the gate between two frames.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError};
use std::time::{Duration, Instant};

use glovebox_core::pipeline::{Compiled, Counts, Event, Output, Pipeline};
use tokio::sync::mpsc;

use super::custody::Message;
use crate::bus::replay::{Pace, Replay, Speed};
use crate::health::{Counter, Counters, Pulse};

/// What the thread is told.
pub(super) enum Order {
    /// What may leave has changed; answered when it is in force.
    Swap(Box<Compiled>, SyncSender<()>),
    /// Close what is open and end.
    Stop,
}

/// The thread's belongings.
pub(super) struct Drive {
    pub(super) pipeline: Pipeline,
    pub(super) orders: Receiver<Order>,
    pub(super) custody: mpsc::Sender<Message>,
    pub(super) counters: Arc<Counters>,
    /// Set when the log could not be read to its end.
    pub(super) failed: Arc<AtomicBool>,
    pub(super) pulse: Pulse,
}

/// The thread is to end.
struct Stop;

/// How often a thread that waits shows that it lives.
const BEAT: Duration = Duration::from_secs(1);
/// Frames between two updates of the counters.
const COUNT_EVERY_FRAMES: u32 = 4096;

impl Drive {
    /// Runs until it is told to stop; a replay ends before that and is said to have.
    pub(super) fn run(mut self, replay: Replay, speed: Speed) {
        // Not before there is a gate: what comes earlier would be lost without need.
        let first = self.orders.recv().map_err(|_| Stop);
        if first.and_then(|order| self.obey(order)).is_err() {
            return;
        }
        if self.replay(replay, speed).is_err() {
            return;
        }
        while self.wait(BEAT).is_ok() {}
    }

    fn replay(&mut self, replay: Replay, speed: Speed) -> Result<(), Stop> {
        let (mut pace, mut outputs, mut first) = (Pace::new(speed), Vec::new(), None);
        let (mut replay, mut told, mut frames) = (replay, Counts::default(), 0u32);
        for frame in replay.by_ref() {
            let frame = match frame {
                Ok(frame) => frame,
                Err(error) => {
                    tracing::error!(target: "bus", "replay stopped: {error}");
                    self.failed.store(true, Ordering::Release);
                    break;
                }
            };
            let begin = *first.get_or_insert_with(Instant::now);
            self.wait_until(&mut pace, frame.moment, begin)?;
            self.pipeline.on_event(Event::Frame(&frame), &mut outputs);
            self.hand_over(&mut outputs)?;
            frames = frames.wrapping_add(1);
            if frames.is_multiple_of(COUNT_EVERY_FRAMES) {
                told = self.count(told);
            }
        }
        self.pipeline.on_event(Event::Flush, &mut outputs);
        self.hand_over(&mut outputs)?;
        self.count(told);
        let counts = replay.counts();
        if let Some(bad) = replay.first_bad() {
            tracing::warn!(target: "bus", bad = counts.bad, first = bad.line, "lines of the log could not be read");
        }
        tracing::info!(target: "bus", frames = counts.frames, ignored = counts.ignored, "replay ended");
        if counts.frames == 0 {
            tracing::warn!(target: "bus", "no frame was of a configured interface: `glovebox check` lists those of the log");
        }
        self.custody.blocking_send(Message::SourceEnded).map_err(|_| Stop)
    }

    /// Takes orders until the frame of `moment` is due; at full speed just those that are there.
    fn wait_until(
        &mut self,
        pace: &mut Pace,
        moment: glovebox_core::names::Moment,
        begin: Instant,
    ) -> Result<(), Stop> {
        loop {
            let left = pace.wait(moment, begin.elapsed());
            if left.is_zero() {
                return self.take_orders();
            }
            self.wait(left.min(BEAT))?;
        }
    }

    fn take_orders(&mut self) -> Result<(), Stop> {
        loop {
            match self.orders.try_recv() {
                Ok(order) => self.obey(order)?,
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => return Err(Stop),
            }
        }
    }

    fn wait(&mut self, at_most: Duration) -> Result<(), Stop> {
        self.pulse.beat();
        match self.orders.recv_timeout(at_most) {
            Ok(order) => self.obey(order),
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => Err(Stop),
        }
    }

    fn obey(&mut self, order: Order) -> Result<(), Stop> {
        let mut outputs = Vec::new();
        match order {
            Order::Swap(compiled, done) => {
                self.pipeline.on_event(Event::Swap(compiled), &mut outputs);
                self.counters.count(Counter::GatesSwapped);
                let handed = self.hand_over(&mut outputs);
                // Whoever asked may have given up waiting; the gate is swapped all the same.
                let _ = done.send(());
                handed
            }
            Order::Stop => {
                self.pipeline.on_event(Event::Flush, &mut outputs);
                let _ = self.hand_over(&mut outputs);
                Err(Stop)
            }
        }
    }

    /// Waits while custody is behind: a recorded log can wait.
    fn hand_over(&mut self, outputs: &mut Vec<Output>) -> Result<(), Stop> {
        for output in outputs.drain(..) {
            if matches!(output, Output::Batch(_)) {
                self.counters.count(Counter::BatchesClosed);
            }
            self.pulse.beat();
            self.custody.blocking_send(Message::Output(output)).map_err(|_| Stop)?;
        }
        Ok(())
    }

    fn count(&self, before: Counts) -> Counts {
        let now = self.pipeline.counts();
        self.pulse.beat();
        self.counters.add(Counter::FramesRead, now.frames - before.frames);
        self.counters.add(Counter::FramesNotNeeded, now.frames_not_needed - before.frames_not_needed);
        self.counters.add(Counter::FramesShort, now.frames_short - before.frames_short);
        self.counters.add(Counter::Readings, now.readings - before.readings);
        self.counters.add(Counter::Consented, now.samples - before.samples);
        now
    }
}
