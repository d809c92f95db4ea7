//! Frames of whatever source to lines.

use super::files::{Bus, Files};
use super::{Args, lines};
use glovebox_core::decode::Reading;
use glovebox_core::decode::plan::Outcome;
use glovebox_core::frame::{BusIndex, Frame};
use std::io::Write;

/// What became of the frames.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Tally {
    pub(super) decoded: u64,
    unmatched: u64,
    short: u64,
    /// Messages of several frames (J1939): put together, and not.
    whole: u64,
    broken: u64,
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { decoded, unmatched, short, whole, broken } = self;
        write!(
            f,
            "{decoded} frames decoded, {short} shorter than their message, {unmatched} without a wanted signal"
        )?;
        match whole + broken {
            0 => Ok(()),
            _ => write!(f, ", {whole} messages of several frames, {broken} such ones incomplete"),
        }
    }
}

/// The decoders at work, and where their lines go.
pub(super) struct Work<'a, W> {
    args: &'a Args,
    files: Files,
    /// By number of the interface.
    buses: Vec<Bus>,
    readings: Vec<Reading>,
    tally: Tally,
    out: W,
}

impl<'a, W: Write> Work<'a, W> {
    pub(super) fn new(args: &'a Args, files: Files, mut out: W) -> anyhow::Result<Self> {
        lines::header(args.format, args.all, &mut out)?;
        Ok(Self { args, files, buses: Vec::new(), readings: Vec::new(), tally: Tally::default(), out })
    }

    /// The decoder of this interface; its number is its place in `names`. Faults between databases and mapping are told
    /// with the first one.
    pub(super) fn bus(&mut self, number: usize, names: &[String]) -> anyhow::Result<Option<&mut Bus>> {
        while let (true, Some(name)) = (self.buses.len() <= number, names.get(self.buses.len())) {
            self.buses.push(self.files.bus(self.args, name)?);
        }
        Ok(self.buses.get_mut(number))
    }

    /// One frame, whose bus is a number of `names`.
    pub(super) fn frame(&mut self, mut frame: Frame, names: &[String]) -> anyhow::Result<()> {
        let number = usize::from(frame.bus.0);
        self.bus(number, names)?;
        let Some(bus) = self.buses.get_mut(number) else { return Ok(()) };
        self.readings.clear();
        frame.bus = BusIndex(0);
        match bus.decoder.decode(&frame, &mut self.readings) {
            Outcome::NotNeeded => {
                self.tally.unmatched += 1;
                if self.args.all {
                    bus.lines.write_raw(&frame, &mut self.out)?;
                }
            }
            Outcome::Decoded => self.tally.decoded += 1,
            Outcome::Short(_) => self.tally.short += 1,
        }
        // As the file has them; the plan has an order of its own.
        self.readings.sort_by_key(|reading| reading.leaf);
        for reading in &self.readings {
            let Some(leaf) = bus.leaves.get(reading.leaf) else { continue };
            let from = (frame.moment, bus.decoder.origin(leaf, &frame));
            bus.lines.write(leaf, from, reading, &mut self.out)?;
        }
        Ok(())
    }

    /// Shows what was written so far.
    pub(super) fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }

    /// What became of the frames; the notices are told.
    pub(super) fn finish(mut self) -> anyhow::Result<Tally> {
        self.out.flush()?;
        self.files.tell(self.args.notices)?;
        for bus in &self.buses {
            let counts = bus.decoder.transport().counts();
            self.tally.whole += counts.whole;
            self.tally.broken += counts.broken;
        }
        Ok(self.tally)
    }
}
