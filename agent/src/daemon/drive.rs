//! The pipeline thread: takes frames from the bus, hands closed batches to custody, swaps the gate between two frames.
//! A recorded log waits while custody is behind; a live bus does not, and what finds no room is declared as lost.

mod live;
mod replay;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError};
use std::time::Duration;

use glovebox_core::batch::{ClockQuality, LossReason};
use glovebox_core::consent::transform::Rule;
use glovebox_core::names::FlowId;
use glovebox_core::pipeline::{Compiled, Counts, Event, Output, Pipeline};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::custody::Message;
use super::emitted::Emitted;
use super::spent::Kept;
use super::trip::TripSeen;
use crate::bus::States;
use crate::bus::live::{Bell, Clocks, Live};
use crate::bus::replay::{Replay, Speed};
use crate::health::{Counter, Counters, Pulse};

/// What the thread is told.
pub(super) enum Order {
    /// What may leave has changed; answered when it is in force.
    Swap(Box<Compiled>, SyncSender<()>),
    /// Close what is open and end.
    Stop,
}

/// Where orders are given.
pub(super) struct Orders {
    pub(super) sender: std::sync::mpsc::Sender<Order>,
    /// Wakes a thread that waits for frames.
    pub(super) bell: Option<Bell>,
}

impl Orders {
    /// Whether there is still somebody to obey.
    pub(super) fn give(&self, order: Order) -> bool {
        let given = self.sender.send(order).is_ok();
        if let Some(bell) = &self.bell {
            bell.ring();
        }
        given
    }
}

/// Where frames come from.
pub(super) enum Source {
    Replay(Replay, Speed),
    Live(Live),
}

/// Both clocks, and how good the wall time is.
pub(super) type ReadClocks = Box<dyn Fn() -> (Clocks, ClockQuality) + Send>;

/// The thread's belongings.
pub(super) struct Drive {
    pub(super) pipeline: Pipeline,
    pub(super) orders: Receiver<Order>,
    pub(super) custody: mpsc::Sender<Message>,
    pub(super) counters: Arc<Counters>,
    pub(super) states: Arc<States>,
    pub(super) clocks: ReadClocks,
    /// Set when the log could not be read to its end.
    pub(super) failed: Arc<AtomicBool>,
    pub(super) pulse: Pulse,
    pub(super) told: Told,
    pub(super) trip: TripSeen,
    /// What was emitted last, of a live bus.
    pub(super) emitted: Option<Emitted>,
    /// What was spent of budgets, of a live bus.
    pub(super) spent: Option<Kept>,
}

/// What others have been told already, and what they still have to be.
#[derive(Default)]
pub(super) struct Told {
    counts: Counts,
    /// Whether the watched signal is as it must be.
    signal: Option<bool>,
    /// Samples for which custody had no room; said as soon as it has.
    lost: BTreeMap<(FlowId, LossReason), u64>,
}

/// The thread is to end.
struct Stop;

/// How often a thread that waits shows that it lives.
const BEAT: Duration = Duration::from_secs(1);

impl Drive {
    /// Runs until it is told to stop; a replay ends before that and is said to have.
    pub(super) fn run(mut self, source: Source) {
        // Not before there is a gate: what comes earlier would be lost without need.
        let Ok(Order::Swap(compiled, done)) = self.orders.recv() else { return };
        let _ = match source {
            Source::Replay(replay, speed) => self
                .swap(compiled, &done)
                .and_then(|()| self.replay(replay, speed))
                .and_then(|()| self.idle()),
            Source::Live(live) => self.live(live, compiled, &done),
        };
    }

    fn idle(&mut self) -> Result<(), Stop> {
        loop {
            self.wait(BEAT)?;
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

    /// The next order that is there.
    fn order(&mut self) -> Result<Option<Order>, Stop> {
        match self.orders.try_recv() {
            Ok(order) => Ok(Some(order)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(Stop),
        }
    }

    fn obey(&mut self, order: Order) -> Result<(), Stop> {
        match order {
            Order::Swap(compiled, done) => self.swap(compiled, &done),
            Order::Stop => {
                let mut outputs = Vec::new();
                self.pipeline.on_event(Event::Flush, &mut outputs);
                let _ = self.hand_over(&mut outputs);
                self.keep_emitted();
                Err(Stop)
            }
        }
    }

    /// What has a rate waits over the restart, and what was spent stays spent.
    fn keep_emitted(&mut self) {
        if let Some(spent) = &mut self.spent
            && let Err(error) = spent.end(&self.pipeline.gate().spending())
        {
            tracing::warn!(target: "consent", %error, "after the next start a little less is left of budgets");
        }
        let Some(emitted) = &self.emitted else { return };
        let (clocks, _) = (self.clocks)();
        if let Err(error) = emitted.end(&self.pipeline.gate().remembered(clocks.moment)) {
            tracing::warn!(target: "consent", %error, "after the next start all that has a rate waits once");
        }
    }

    fn swap(&mut self, compiled: Box<Compiled>, done: &SyncSender<()>) -> Result<(), Stop> {
        let mut outputs = Vec::new();
        self.pipeline.on_event(Event::Swap(compiled), &mut outputs);
        self.counters.count(Counter::GatesSwapped);
        let handed = self.hand_over(&mut outputs);
        // Whoever asked may have given up waiting; the gate is swapped all the same.
        let _ = done.send(());
        handed
    }

    /// Waits while custody is behind.
    fn hand_over(&mut self, outputs: &mut Vec<Output>) -> Result<(), Stop> {
        self.trip.tell(self.pipeline.trip_goes_on());
        self.count_closed(outputs);
        self.keep_spent(outputs);
        for output in self.owed().into_iter().chain(outputs.drain(..)) {
            self.pulse.beat();
            self.custody.blocking_send(Message::Output(output)).map_err(|_| Stop)?;
        }
        if let Some(news) = self.signal_news() {
            self.custody.blocking_send(Message::Signal(news)).map_err(|_| Stop)?;
            self.told.signal = news;
        }
        Ok(())
    }

    /// What was spent is durable before a batch is handed on; a batch of which it is not is lost.
    fn keep_spent(&mut self, outputs: &mut [Output]) {
        let Some(spent) = &mut self.spent else { return };
        if !outputs.iter().any(has_budget) {
            return;
        }
        let gate = self.pipeline.gate();
        let Err(error) = spent.keep(gate.spent_so_far(), || gate.spending()) else { return };
        tracing::error!(target: "consent", %error, "what is spent of budgets cannot be kept: such batches are lost");
        for output in outputs.iter_mut().filter(|output| has_budget(output)) {
            if let Output::Batch(batch) = output {
                let (flow, samples) = (batch.rules().flow, batch.samples().into());
                *output = Output::Lost { flow, reason: LossReason::Quota, samples };
            }
        }
    }

    /// What custody does not know yet of the watched signal.
    fn signal_news(&self) -> Option<Option<bool>> {
        let now = self.pipeline.signal_holds();
        (now != self.told.signal).then_some(now)
    }

    /// Does not wait: a bus cannot.
    fn hand_over_now(&mut self, outputs: &mut Vec<Output>) -> Result<(), Stop> {
        self.trip.tell(self.pipeline.trip_goes_on());
        self.count_closed(outputs);
        self.keep_spent(outputs);
        for output in self.owed().into_iter().chain(outputs.drain(..)) {
            match self.custody.try_send(Message::Output(output)) {
                Ok(()) => {}
                Err(TrySendError::Full(Message::Output(output))) => self.owe(output),
                Err(_) => return Err(Stop),
            }
        }
        // Where there is no room it is said next time.
        if let Some(news) = self.signal_news()
            && self.custody.try_send(Message::Signal(news)).is_ok()
        {
            self.told.signal = news;
        }
        Ok(())
    }

    fn owed(&mut self) -> Vec<Output> {
        let lost = std::mem::take(&mut self.told.lost).into_iter();
        lost.map(|((flow, reason), samples)| Output::Lost { flow, reason, samples }).collect()
    }

    fn owe(&mut self, output: Output) {
        let (flow, reason, samples) = match output {
            Output::Lost { flow, reason, samples } => (flow, reason, samples),
            Output::Batch(batch) => {
                self.counters.count(Counter::BatchesOverloaded);
                tracing::warn!(target: "batch", flow = %batch.rules().flow, "no room for a batch: declared as lost");
                (batch.rules().flow, LossReason::Overload, u64::from(batch.samples()))
            }
        };
        *self.told.lost.entry((flow, reason)).or_default() += samples;
    }

    fn count_closed(&self, outputs: &[Output]) {
        let closed = outputs.iter().filter(|output| matches!(output, Output::Batch(_))).count();
        self.counters.add(Counter::BatchesClosed, closed as u64);
    }

    fn count(&mut self) {
        let (before, now) = (self.told.counts, self.pipeline.counts());
        self.pulse.beat();
        self.counters.add(Counter::FramesRead, now.frames - before.frames);
        self.counters.add(Counter::FramesNotNeeded, now.frames_not_needed - before.frames_not_needed);
        self.counters.add(Counter::FramesShort, now.frames_short - before.frames_short);
        self.counters.add(Counter::MessagesWhole, now.messages_whole - before.messages_whole);
        self.counters.add(Counter::MessagesBroken, now.messages_broken - before.messages_broken);
        self.counters.add(Counter::Readings, now.readings - before.readings);
        self.counters.add(Counter::Consented, now.samples - before.samples);
        self.counters.add(Counter::OverBudget, now.samples_over_budget - before.samples_over_budget);
        self.counters.add(Counter::NoTail, now.samples_no_tail - before.samples_no_tail);
        self.told.counts = now;
    }
}

fn has_budget(output: &Output) -> bool {
    let has = |rule: &Rule| matches!(rule, Rule::Pass(transform) if transform.budget.is_some());
    matches!(output, Output::Batch(batch) if batch.rules().signals.iter().any(|it| has(&it.permitted)))
}
