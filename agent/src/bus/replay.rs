//! A recorded log as a source of frames: text or gzip, candump or Vector ASC, line by line, bad lines counted and passed
//! over.

use super::line::{Content, Line, LineError, Reader};
use flate2::bufread::MultiGzDecoder;
use glovebox_core::frame::{BusIndex, Frame};
use glovebox_core::limits::LOG_LINE_BYTES_MAX;
use glovebox_core::names::Moment;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Why a log cannot be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The file cannot be opened.
    #[error("{place}: cannot open the log; check the path and its permissions")]
    Open {
        /// The log, as given.
        place: String,
        /// Why.
        source: io::Error,
    },
    /// Reading failed half-way, or the compression is broken.
    #[error("{place}:{line}: cannot read on behind this line; is the file whole?")]
    Read {
        /// The log, as given.
        place: String,
        /// The last line that was read, from 1.
        line: u64,
        /// Why.
        source: io::Error,
    },
    /// Not a single line could be read.
    #[error(
        "{place}:{line}: no line of the log can be read, the first because: {what}; record it with `candump -L`, or export \
         it as Vector ASC"
    )]
    NoFrames {
        /// The log, as given.
        place: String,
        /// The first bad line.
        line: u64,
        /// What is wrong with it.
        what: LineError,
    },
    /// Nothing at all, or nothing but a header.
    #[error("{place}: no frame is in the log; record one with `candump -L`")]
    Empty {
        /// The log, as given.
        place: String,
    },
}

/// What became of the lines of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Lines read; those of a header, comments and blank ones too.
    pub lines: u64,
    /// Data frames handed over.
    pub frames: u64,
    /// Data frames of interfaces that are not configured.
    pub ignored: u64,
    /// Remote frames.
    pub remote: u64,
    /// Error frames.
    pub error: u64,
    /// What else a recorder notes: statistics, lost frames, other kinds of buses.
    pub events: u64,
    /// Lines that are none of these.
    pub bad: u64,
}

impl Counts {
    fn valid(&self) -> u64 {
        self.frames + self.ignored + self.remote + self.error
    }
}

/// A bad line of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadLine {
    /// From 1.
    pub line: u64,
    /// What is wrong.
    pub what: LineError,
}

/// Reads the lines of a log, each within the bound.
pub struct Log {
    place: String,
    input: Box<dyn BufRead + Send>,
    /// Bytes of the file that were read so far, and its size if it has one.
    read: Arc<AtomicU64>,
    size: Option<u64>,
    buffer: Vec<u8>,
    /// All that was there is read.
    drained: bool,
    reader: Reader,
    counts: Counts,
    first_bad: Option<BadLine>,
}

impl Log {
    /// Opens a file; gzip is known by its first bytes.
    ///
    /// # Errors
    /// If it cannot be opened or its first bytes cannot be read.
    pub fn open(path: &Path) -> Result<Self, ReplayError> {
        let place = path.display().to_string();
        let file = match File::open(path) {
            Ok(file) => file,
            Err(source) => return Err(ReplayError::Open { place, source }),
        };
        let size = file.metadata().ok().filter(|data| data.is_file()).map(|data| data.len());
        Ok(Self { size, ..Self::new(file, &place)? })
    }

    /// Reads from anything that gives bytes.
    ///
    /// # Errors
    /// If the first bytes cannot be read.
    pub fn new(input: impl Read + Send + 'static, place: &str) -> Result<Self, ReplayError> {
        let read = Arc::new(AtomicU64::new(0));
        let input = Counted { input, read: Arc::clone(&read) };
        let mut input = BufReader::with_capacity(64 * 1024, input);
        let head = input.fill_buf();
        let head = head.map_err(|source| ReplayError::Read { place: place.to_owned(), line: 0, source })?;
        let gzip = head.starts_with(&[0x1F, 0x8B]);
        let input: Box<dyn BufRead + Send> = if gzip {
            Box::new(BufReader::with_capacity(64 * 1024, MultiGzDecoder::new(input)))
        } else {
            Box::new(input)
        };
        let buffer = Vec::with_capacity(LOG_LINE_BYTES_MAX);
        let (reader, counts) = (Reader::default(), Counts::default());
        let (place, size, first_bad) = (place.to_owned(), None, None);
        Ok(Self { place, input, read, size, buffer, drained: false, reader, counts, first_bad })
    }

    /// Bytes of the file that were read, of how many; `None` if that is no file with a size.
    #[must_use]
    pub fn position(&self) -> Option<(u64, u64)> {
        self.size.map(|size| (self.read.load(Ordering::Relaxed), size))
    }

    /// What was read so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The first line that could not be read.
    #[must_use]
    pub fn first_bad(&self) -> Option<BadLine> {
        self.first_bad
    }

    /// The next data frame of an interface that `bus_of` knows; `None` at the end of the log.
    ///
    /// # Errors
    /// If the log breaks off, or its end came without a single valid line.
    pub fn next_frame(
        &mut self,
        mut bus_of: impl FnMut(&str) -> Option<BusIndex>,
    ) -> Result<Option<Frame>, ReplayError> {
        loop {
            let whole = match self.read_line() {
                Ok(Some(whole)) => whole,
                Ok(None) => return self.end(),
                Err(source) => {
                    return Err(ReplayError::Read {
                        place: self.place.clone(),
                        line: self.counts.lines,
                        source,
                    });
                }
            };
            self.counts.lines += 1;
            let line = match self.reader.read(&self.buffer) {
                Ok(None) => continue,
                // An event is known by how it begins.
                Ok(Some(line)) if whole || line.content == Content::Event => Ok(line),
                Err(what) if whole || what == LineError::Unknown => Err(what),
                _ => Err(LineError::TooLong),
            };
            match line {
                Ok(Line { interface, content: Content::Data(mut frame), .. }) => match bus_of(interface) {
                    Some(bus) => {
                        frame.bus = bus;
                        self.counts.frames += 1;
                        return Ok(Some(frame));
                    }
                    None => self.counts.ignored += 1,
                },
                Ok(Line { content: Content::Remote, .. }) => self.counts.remote += 1,
                Ok(Line { content: Content::Error, .. }) => self.counts.error += 1,
                Ok(Line { content: Content::Event, .. }) => self.counts.events += 1,
                Err(what) => self.bad(what),
            }
        }
    }

    /// Whether the next line has still to come: a pipe may let it wait.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.drained
    }

    fn end(&self) -> Result<Option<Frame>, ReplayError> {
        let place = self.place.clone();
        match self.first_bad {
            _ if self.counts.valid() > 0 => Ok(None),
            Some(BadLine { line, what }) => Err(ReplayError::NoFrames { place, line, what }),
            None => Err(ReplayError::Empty { place }),
        }
    }

    /// Only the first is told: a log of another kind has nothing but bad lines.
    fn bad(&mut self, what: LineError) {
        self.counts.bad += 1;
        if self.first_bad.is_none() {
            let line = self.counts.lines;
            self.first_bad = Some(BadLine { line, what });
            tracing::warn!(target: "bus", "{}:{line}: {what}; bad lines are passed over and counted", self.place);
        }
    }

    /// Fills the buffer with the next line; `Some(false)` if it is longer than the bound and was cut.
    fn read_line(&mut self) -> io::Result<Option<bool>> {
        self.buffer.clear();
        let mut whole = true;
        loop {
            let available = match self.input.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                available => available?,
            };
            if available.is_empty() {
                let nothing = self.buffer.is_empty() && whole;
                return Ok((!nothing).then_some(whole));
            }
            let end = available.iter().position(|byte| *byte == b'\n');
            let part = &available[..end.unwrap_or(available.len())];
            let room = LOG_LINE_BYTES_MAX - self.buffer.len();
            whole &= part.len() <= room;
            self.buffer.extend_from_slice(&part[..part.len().min(room)]);
            let used = end.map_or(available.len(), |end| end + 1);
            self.drained = used == available.len();
            self.input.consume(used);
            if end.is_some() {
                return Ok(Some(whole));
            }
        }
    }
}

/// Counts what is read of a file, compressed or not.
struct Counted<R> {
    input: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.read.fetch_add(u64::try_from(count).unwrap_or(0), Ordering::Relaxed);
        Ok(count)
    }
}

/// The frames of a log on the configured buses: an iterator that ends with the log or its first error.
pub struct Replay {
    log: Log,
    /// By number of the bus: name of the interface in the log.
    interfaces: Vec<String>,
    ended: bool,
}

impl Replay {
    /// Frames of `interfaces`, the bus being the interface's place in the list.
    #[must_use]
    pub fn new(log: Log, interfaces: Vec<String>) -> Self {
        Self { log, interfaces, ended: false }
    }

    /// Bytes of the file that were read, of how many; `None` if that is no file with a size.
    #[must_use]
    pub fn position(&self) -> Option<(u64, u64)> {
        self.log.position()
    }

    /// What was read so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.log.counts()
    }

    /// The first line that could not be read.
    #[must_use]
    pub fn first_bad(&self) -> Option<BadLine> {
        self.log.first_bad()
    }
}

impl Iterator for Replay {
    type Item = Result<Frame, ReplayError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let interfaces = &self.interfaces;
        let next = self.log.next_frame(|name| {
            let found = interfaces.iter().position(|interface| interface == name)?;
            u8::try_from(found).ok().map(BusIndex)
        });
        let next = next.transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

/// How fast a log is replayed.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Speed {
    /// As fast as frames can be taken.
    #[default]
    Max,
    /// A multiple of the recorded speed; finite and above 0.
    Factor(f64),
}

/// Tells how long to wait before a frame. It reads no clock and does not sleep: the caller does both.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    speed: Speed,
    first: Option<Moment>,
}

impl Pace {
    /// For a replay that starts with the first frame asked about.
    #[must_use]
    pub fn new(speed: Speed) -> Self {
        Self { speed, first: None }
    }

    /// How long to wait before the frame of `moment`, when `since_first` has gone by since the first frame. A frame
    /// that is late or out of order comes at once.
    #[must_use]
    pub fn wait(&mut self, moment: Moment, since_first: Duration) -> Duration {
        let first = *self.first.get_or_insert(moment);
        let Speed::Factor(factor) = self.speed else { return Duration::ZERO };
        let recorded = Duration::from_micros(u64::try_from(moment.0.saturating_sub(first.0)).unwrap_or(0));
        let due = Duration::try_from_secs_f64(recorded.as_secs_f64() / factor).unwrap_or(Duration::MAX);
        due.saturating_sub(since_first)
    }
}
