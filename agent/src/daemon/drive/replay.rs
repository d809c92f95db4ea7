//! A recorded log through the pipeline.

use std::sync::atomic::Ordering;
use std::time::Instant;

use glovebox_core::names::Moment;
use glovebox_core::pipeline::Event;

use super::{BEAT, Drive, Stop};
use crate::bus::Link;
use crate::bus::replay::{Pace, Replay, Speed};
use crate::daemon::custody::Message;

/// Frames between two updates of the counters at full speed; with a pace, each wait is an update.
const COUNT_EVERY_FRAMES: u32 = 4096;

impl Drive {
    pub(super) fn replay(&mut self, mut replay: Replay, speed: Speed) -> Result<(), Stop> {
        self.states.set_links(Link::Replaying);
        let (mut pace, mut outputs, mut first, mut frames) = (Pace::new(speed), Vec::new(), None, 0u32);
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
                self.count();
            }
        }
        self.pipeline.on_event(Event::Flush, &mut outputs);
        self.hand_over(&mut outputs)?;
        self.count();
        self.states.set_links(Link::Ended);
        say_what_was_read(&replay);
        self.custody.blocking_send(Message::SourceEnded).map_err(|_| Stop)
    }

    /// Takes orders until the frame of `moment` is due; at full speed just those that are there.
    fn wait_until(&mut self, pace: &mut Pace, moment: Moment, begin: Instant) -> Result<(), Stop> {
        loop {
            let left = pace.wait(moment, begin.elapsed());
            if left.is_zero() {
                while let Some(order) = self.order()? {
                    self.obey(order)?;
                }
                return Ok(());
            }
            self.count();
            self.wait(left.min(BEAT))?;
        }
    }
}

fn say_what_was_read(replay: &Replay) {
    let counts = replay.counts();
    if let Some(bad) = replay.first_bad() {
        tracing::warn!(target: "bus", bad = counts.bad, first = bad.line, "lines of the log could not be read");
    }
    tracing::info!(target: "bus", frames = counts.frames, ignored = counts.ignored, "replay ended");
    if counts.frames == 0 {
        tracing::warn!(target: "bus", "no frame was of a configured interface: `glovebox check` lists those of the log");
    }
}
