//! Live buses through the pipeline: the kernel's filters follow the gate, stamps follow the clocks.

use std::sync::mpsc::SyncSender;
use std::time::Duration;

use glovebox_core::batch::{ClockQuality, TimeMapping};
use glovebox_core::names::{Moment, UtcDay};
use glovebox_core::pipeline::{Compiled, Event};

use super::{BEAT, Drive, Order, Stop};
use crate::bus::live::{Counts, Live, TimeLine};
use crate::health::Counter;

/// What of the clocks the open batches are told, and when they were last told the time.
struct Time {
    line: TimeLine,
    quality: ClockQuality,
    now: Moment,
}

impl Drive {
    pub(super) fn live(
        &mut self,
        mut live: Live,
        compiled: Box<Compiled>,
        done: &SyncSender<()>,
    ) -> Result<(), Stop> {
        let (clocks, quality) = (self.clocks)();
        let mut time = Time { line: TimeLine::new(clocks), quality, now: clocks.moment };
        self.map(&time)?;
        live.filter(|bus| compiled.plan.patterns(bus));
        self.swap(compiled, done)?;
        if let Some(emitted) = &self.emitted {
            self.pipeline.recall(&emitted.begin(), time.now);
        }
        if let Some(spent) = &mut self.spent {
            self.pipeline.recall_spending(&spent.begin(UtcDay::of(clocks.wall)));
        }
        let (mut told, mut more) = (Counts::default(), false);
        loop {
            let at_most = if more { Duration::ZERO } else { self.until_due(time.now) };
            if let Err(error) = live.wait(at_most) {
                tracing::error!(target: "bus", %error, "cannot wait for frames");
                std::thread::sleep(BEAT);
            }
            while let Some(order) = self.order()? {
                if let Order::Swap(compiled, _) = &order {
                    live.filter(|bus| compiled.plan.patterns(bus));
                }
                self.obey(order)?;
            }
            self.look_at_clocks(&mut time)?;
            more = self.read(&mut live, &time)?;
            told = self.count_bus(told, live.counts());
        }
    }

    /// Until a batch has to close, or somebody wants to see that this thread lives.
    fn until_due(&self, now: Moment) -> Duration {
        let left = self.pipeline.next_due().map_or(i64::MAX, |due| due.0.saturating_sub(now.0));
        Duration::from_micros(u64::try_from(left).unwrap_or(0)).min(BEAT)
    }

    fn look_at_clocks(&mut self, time: &mut Time) -> Result<(), Stop> {
        let (clocks, quality) = (self.clocks)();
        time.now = clocks.moment;
        let stepped = time.line.look(clocks);
        if stepped || quality != time.quality {
            time.quality = quality;
            self.map(time)?;
        }
        Ok(())
    }

    /// What is collected by the old clock is closed by it.
    fn map(&mut self, time: &Time) -> Result<(), Stop> {
        let mapping = TimeMapping { offset_us: time.line.offset_us(), quality: time.quality };
        let mut outputs = Vec::new();
        self.pipeline.on_event(Event::Mapping(mapping), &mut outputs);
        self.hand_over_now(&mut outputs)
    }

    fn read(&mut self, live: &mut Live, time: &Time) -> Result<bool, Stop> {
        let mut outputs = Vec::new();
        let pipeline = &mut self.pipeline;
        let more = live.read(&time.line, |frame| pipeline.on_event(Event::Frame(frame), &mut outputs));
        if pipeline.next_due().is_some_and(|due| time.now >= due) {
            pipeline.on_event(Event::Time(time.now), &mut outputs);
        }
        self.hand_over_now(&mut outputs)?;
        self.count();
        Ok(more)
    }

    fn count_bus(&self, before: Counts, now: Counts) -> Counts {
        for (counter, before, now) in [
            (Counter::FramesDropped, before.dropped, now.dropped),
            (Counter::FramesFaulty, before.faulty, now.faulty),
            (Counter::ErrorFrames, before.errors, now.errors),
            (Counter::BusOff, before.bus_off, now.bus_off),
            (Counter::ErrorPassive, before.error_passive, now.error_passive),
            (Counter::Restarts, before.restarts, now.restarts),
            (Counter::InterfaceChanges, before.changes, now.changes),
        ] {
            self.counters.add(counter, now - before);
        }
        now
    }
}
