//! From one payload to output and account; what must be on disk before the broker may forget it.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::open::{self, Header};
use crate::state::StateDir;
use crate::{Event, OpenError, Opener, Streams};
use anyhow::Context as _;
use glovebox_proto::envelope;

use super::screen::Screen;

/// Everything between the subscription and standard output.
pub(super) struct Intake {
    opener: Opener,
    streams: Streams,
    state: Option<StateDir>,
    store: Option<EnvelopeStore>,
    screen: Screen,
    /// Kept envelopes that were output since the last [`Intake::settle`].
    released: Vec<Header>,
}

impl Intake {
    /// Goes on where the state ends; opens again what was kept there.
    pub(super) fn new(
        opener: Opener,
        state: Option<StateDir>,
        store: Option<EnvelopeStore>,
        screen: Screen,
        is_partial: bool,
    ) -> anyhow::Result<Self> {
        let mut streams = match &state {
            Some(state) => state.load()?,
            None => Streams::new(),
        };
        streams.set_partial(is_partial);
        let kept = state.as_ref().map(StateDir::kept).transpose()?.unwrap_or_default();
        let mut intake = Self { opener, streams, state, store, screen, released: Vec::new() };
        kept.iter().try_for_each(|payload| intake.reopen(payload))?;
        intake.settle()?;
        Ok(intake)
    }

    /// A kept envelope: it may have been output just before the program was killed.
    fn reopen(&mut self, payload: &[u8]) -> anyhow::Result<()> {
        let Ok(opened) = self.opener.open(None, payload) else { return Ok(()) };
        for event in self.streams.accept(opened) {
            match event {
                Event::Duplicate(header) => self.released.push(header),
                other => self.tell(other, payload)?,
            }
        }
        Ok(())
    }

    /// Takes one payload; it may be acknowledged after the next [`Intake::settle`].
    pub(super) fn take(&mut self, topic: &str, payload: &[u8]) -> anyhow::Result<()> {
        if let Some(store) = &mut self.store {
            store.write(topic, payload)?;
        }
        self.open(Some(topic), payload)
    }

    fn open(&mut self, topic: Option<&str>, payload: &[u8]) -> anyhow::Result<()> {
        match self.opener.open(topic, payload) {
            Ok(opened) => {
                for event in self.streams.accept(opened) {
                    self.tell(event, payload)?;
                }
                Ok(())
            }
            Err(error) => self.refuse(topic, payload, &error),
        }
    }

    fn tell(&mut self, event: Event, payload: &[u8]) -> anyhow::Result<()> {
        match event {
            Event::Ready(ready) => {
                let header = ready.header.clone();
                if let Err(error) = self.screen.ready(ready)? {
                    self.screen.refused(None, Some(&header), &error.to_string())?;
                }
                self.released.push(header);
            }
            Event::Held(header) => {
                let is_kept = match &mut self.state {
                    Some(state) => state.keep(&header, payload)?,
                    None => false,
                };
                if self.state.is_some() && !is_kept {
                    super::say(
                        "glovebox-recipient: too many envelopes wait on disk; this one waits in memory",
                    );
                }
                self.screen.event(&Event::Held(header))?;
            }
            Event::GivenUp(header) => {
                self.released.push(header.clone());
                self.screen.event(&Event::GivenUp(header))?;
            }
            other => self.screen.event(&other)?,
        }
        Ok(())
    }

    /// Tells why; what only lacks a key is kept for a start with that key.
    fn refuse(&mut self, topic: Option<&str>, payload: &[u8], error: &OpenError) -> anyhow::Result<()> {
        let header = open::verify(topic, payload).ok();
        let mut why = error.to_string();
        if let (OpenError::UnknownKey { .. }, Some(header), Some(state)) = (error, &header, &mut self.state) {
            why += match state.keep(header, payload)? {
                true => "; kept in the state folder until then",
                false => "; not kept, too many are",
            };
        }
        self.screen.refused(topic, header.as_ref(), &why)?;
        Ok(())
    }

    /// Writes out, then records what was written out: in this order nothing is lost, at worst repeated.
    pub(super) fn settle(&mut self) -> anyhow::Result<()> {
        self.screen.flush()?;
        if let Some(state) = &mut self.state {
            state.save(&self.streams)?;
            for header in self.released.drain(..) {
                state.release(&header)?;
            }
        }
        self.released.clear();
        Ok(())
    }
}

/// Stores payloads as they came, numbered.
pub(super) struct EnvelopeStore {
    folder: PathBuf,
    next: u64,
}

impl EnvelopeStore {
    pub(super) fn open(folder: &Path) -> anyhow::Result<Self> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self { folder: folder.to_owned(), next: 1 })
    }

    /// `<number>-<alias>.envelope`; numbers go on behind those that are there.
    fn write(&mut self, topic: &str, payload: &[u8]) -> anyhow::Result<()> {
        let alias = envelope::parse_up_topic(topic).map_or("unknown", |parts| parts.alias_id);
        loop {
            let path = self.folder.join(format!("{:08}-{alias}.envelope", self.next));
            self.next += 1;
            match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
                Ok(mut file) => {
                    return file
                        .write_all(payload)
                        .with_context(|| format!("cannot write {}", path.display()));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).with_context(|| format!("cannot create {}", path.display())),
            }
        }
    }
}
