//! Where output goes: JSON Lines, or a table of the latest values on a terminal.

use std::collections::BTreeSet;
use std::io::{self, BufWriter, IsTerminal as _, Stdout, Write as _};

use crate::open::Header;
use crate::samples::SamplesError;
use crate::{Event, Ready, lines, samples};

use super::table::Table;

/// Bytes of lines that are gathered before they are written.
const CHUNK_BYTES: usize = 64 * 1024;

/// Descriptors that are remembered as printed; beyond it they are printed once more.
const TOLD_MAX: usize = 16_384;

/// Standard output in one of its two forms.
pub(crate) enum Screen {
    /// One JSON object a line.
    Lines {
        out: BufWriter<Stdout>,
        text: String,
        /// Descriptors that were printed: whoever starts to read has each in full, whatever came before.
        told: BTreeSet<Vec<u8>>,
    },
    /// Redrawn at each flush.
    Table { out: BufWriter<Stdout>, table: Box<Table>, is_live: bool },
}

impl Screen {
    /// Lines if asked for or if nobody looks; `is_live`: the table stays and is redrawn.
    pub(crate) fn new(json: bool, is_live: bool) -> Self {
        let out = BufWriter::new(io::stdout());
        match json || !io::stdout().is_terminal() {
            true => Self::Lines { out, text: String::with_capacity(CHUNK_BYTES), told: BTreeSet::new() },
            false => Self::Table { out, table: Box::default(), is_live },
        }
    }

    /// A batch, its losses and its samples. The outer error is the output's, the inner one the batch's.
    pub(crate) fn ready(&mut self, ready: Ready) -> io::Result<Result<(), SamplesError>> {
        let descriptor = std::sync::Arc::clone(&ready.descriptor);
        let all = match samples(&ready.batch, &descriptor) {
            Ok(all) => all,
            Err(error) => return Ok(Err(error)),
        };
        let header = ready.header.clone();
        if let Self::Lines { text, told, .. } = self {
            let digest = ready.batch.descriptor_digest.clone();
            if told.len() >= TOLD_MAX {
                told.clear();
            }
            let in_full = told.insert(digest) || ready.batch.descriptor.is_some();
            lines::batch(text, &ready, in_full);
        }
        self.event(&Event::Ready(ready))?;
        match self {
            Self::Table { table, .. } => all.for_each(|sample| table.sample(&header, &sample)),
            Self::Lines { out, text, .. } => {
                for sample in all {
                    lines::sample(text, &header, &sample);
                    if text.len() >= CHUNK_BYTES {
                        out.write_all(text.as_bytes())?;
                        text.clear();
                    }
                }
            }
        }
        Ok(Ok(()))
    }

    /// Anything but samples.
    pub(crate) fn event(&mut self, event: &Event) -> io::Result<()> {
        if let Self::Table { table, .. } = self {
            lines::words(event).lines().for_each(|line| table.event(line));
            return Ok(());
        }
        let mut line = String::new();
        lines::event(&mut line, event);
        self.line(&line)
    }

    /// An envelope that is not output, and why.
    pub(crate) fn refused(
        &mut self,
        topic: Option<&str>,
        header: Option<&Header>,
        why: &str,
    ) -> io::Result<()> {
        if let Self::Table { table, .. } = self {
            let from =
                header.map_or_else(String::new, |it| format!(" (flow {:016x}, {})", it.flow, it.sequence));
            table.event(&format!("refused: {why}{from}"));
            return Ok(());
        }
        let mut line = String::new();
        lines::refused(&mut line, topic, header, why);
        self.line(&line)
    }

    fn line(&mut self, line: &str) -> io::Result<()> {
        match self {
            Self::Lines { out, text, .. } => {
                text.push_str(line);
                out.write_all(text.as_bytes())?;
                text.clear();
            }
            Self::Table { table, .. } => line.lines().for_each(|line| table.event(line)),
        }
        Ok(())
    }

    /// All of it is with the operating system when this returns.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Lines { out, text, .. } => {
                out.write_all(text.as_bytes())?;
                text.clear();
                out.flush()
            }
            Self::Table { out, table, is_live } => {
                out.write_all(table.draw(*is_live).as_bytes())?;
                out.flush()
            }
        }
    }
}
