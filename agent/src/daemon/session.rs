//! What somebody in the car has set for a while (a pause, location off), kept over a restart.
//!
//! ```text
//! <state>/session, written atomically:
//! glovebox session 1
//! boot <id of this start of the machine; nothing if it is not known>
//! driver <guest | is D; no line if it is not known who drives>
//! hold <began: microseconds on the time line of that start> <15m | trip | until-ended> <all | location | recipient R | flow R P>
//!   and if it is for one driver, before what it holds: of D
//! under-way <the same: what is set for a trip that was seen to go on since>
//! check <SHA-256 of the lines above, hexadecimal>
//! ```
//!
//! Doubt is on the side of less: a file that cannot be read means that nothing leaves, and after a start of the machine a
//! time that was set begins again, since nobody knows how long it was off.

use std::fmt::Write as _;
use std::path::PathBuf;

use glovebox_core::consent::session::{Driver, Hold, Lasts, Session, What};
use glovebox_core::limits::SESSION_FILE_BYTES_MAX;
use glovebox_core::names::{Digest, Moment};

use crate::clock::Time;
use crate::store::files::{self, FileError, Privacy};

const HEAD: &str = "glovebox session 1";
const HOLD: &str = "hold";
const UNDER_WAY: &str = "under-way";

/// Where the file is.
pub trait Keep: Send {
    /// What it holds; `None` if there is none.
    ///
    /// # Errors
    /// If it cannot be read.
    fn read(&self) -> Result<Option<Vec<u8>>, FileError>;

    /// Replaces it; durable when it returns.
    ///
    /// # Errors
    /// The system's.
    fn write(&self, text: &str) -> Result<(), FileError>;
}

/// A file of that path.
struct AtPath(PathBuf);

impl Keep for AtPath {
    fn read(&self) -> Result<Option<Vec<u8>>, FileError> {
        files::read_bounded(&self.0, SESSION_FILE_BYTES_MAX, Privacy::Public)
    }

    fn write(&self, text: &str) -> Result<(), FileError> {
        files::write_atomically(&self.0, text.as_bytes())
    }
}

/// No file: what is set goes with the process.
pub struct Nowhere;

impl Keep for Nowhere {
    fn read(&self) -> Result<Option<Vec<u8>>, FileError> {
        Ok(None)
    }

    fn write(&self, _: &str) -> Result<(), FileError> {
        Ok(())
    }
}

/// The file and what is set.
pub struct Kept {
    file: Box<dyn Keep>,
    /// Of this start of the machine.
    boot: String,
    session: Session,
}

impl Kept {
    /// Takes up what the file says, and what was wrong with it, for a person.
    #[must_use]
    pub fn open(path: PathBuf, clock: &dyn Time) -> (Self, Option<String>) {
        let place = path.display().to_string();
        let (kept, doubt) = Self::of(Box::new(AtPath(path)), clock);
        let complaint = doubt.map(|doubt| {
            format!(
                "what was set in the car cannot be read ({doubt}: {place}): nothing leaves until `glovebox resume`, and \
                 no place until `glovebox location on`"
            )
        });
        (kept, complaint)
    }

    /// As [`Self::open`], wherever the file is.
    #[must_use]
    pub fn of(file: Box<dyn Keep>, clock: &dyn Time) -> (Self, Option<String>) {
        let (boot, now) = (clock.boot(), clock.monotonic());
        let (session, doubt) = match file.read() {
            Ok(None) => (Session::default(), None),
            Ok(Some(bytes)) => match std::str::from_utf8(&bytes).ok().and_then(parse) {
                Some((before, session)) => (taken_up(session, !boot.is_empty() && before == boot, now), None),
                None => (Session::in_doubt(), Some("it is damaged".to_owned())),
            },
            Err(error) => (Session::in_doubt(), Some(error.to_string())),
        };
        (Self { file, boot, session }, doubt)
    }

    /// What is set now.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Holds more back, in force whatever becomes of the file.
    ///
    /// # Errors
    /// If it is not durable.
    pub fn narrow(&mut self, session: Session) -> Result<(), FileError> {
        self.session = session;
        self.file.write(&self.text(&self.session))
    }

    /// Holds less back: in force only once it is durable.
    ///
    /// # Errors
    /// If it is not, and then all stays as it was.
    pub fn widen(&mut self, session: Session) -> Result<(), FileError> {
        self.file.write(&self.text(&session))?;
        self.session = session;
        Ok(())
    }

    /// Ends what is over by `now`, and with the trip of which this is said. False if nothing is.
    pub fn pass(&mut self, now: Moment, goes_on: Option<bool>) -> bool {
        let before = self.session.holds().count();
        let mut news = self.session.pass(now);
        news |= goes_on.is_some_and(|goes_on| self.session.look_at_trip(goes_on));
        // The file may say it still: whoever reads it has the same clock, or lets it begin again.
        if news && let Err(error) = self.file.write(&self.text(&self.session)) {
            tracing::warn!(target: "consent", %error, "that a pause is over, or its trip goes on, could not be noted");
        }
        self.session.holds().count() < before
    }

    fn text(&self, session: &Session) -> String {
        let mut body = format!("{HEAD}\nboot {}\n", self.boot);
        // A string takes everything.
        let _ = match session.driver() {
            Driver::Unknown => Ok(()),
            Driver::Guest => writeln!(body, "driver guest"),
            Driver::Is(driver) => writeln!(body, "driver is {driver}"),
        };
        for Hold { what, lasts, driver, began, under_way } in session.holds() {
            let word = if *under_way { UNDER_WAY } else { HOLD };
            let what = match what {
                What::All => "all".to_owned(),
                What::Location => "location".to_owned(),
                What::Recipient(recipient) => format!("recipient {recipient}"),
                What::Flow { recipient, purpose } => format!("flow {recipient} {purpose}"),
            };
            let of = driver.as_ref().map_or_else(String::new, |driver| format!("of {driver} "));
            let _ = writeln!(body, "{word} {} {lasts} {of}{what}", began.0);
        }
        let check = Digest::of(body.as_bytes());
        format!("{body}check {check}\n")
    }
}

/// A moment of the same start that is still to come cannot be: then it counts as of another one.
fn taken_up(session: Session, same_start: bool, now: Moment) -> Session {
    let is_past = session.holds().all(|hold| hold.began <= now);
    let mut session = if same_start && is_past { session } else { session.begun_again(now) };
    session.pass(now);
    session
}

/// Which start it is of, and what was set.
fn parse(text: &str) -> Option<(&str, Session)> {
    let (body, check) = text.split_at_checked(text.rfind("check ")?)?;
    if check.strip_prefix("check ")?.strip_suffix('\n')? != Digest::of(body.as_bytes()).to_string() {
        return None;
    }
    let mut lines = body.lines();
    if lines.next()? != HEAD {
        return None;
    }
    let boot = lines.next()?.strip_prefix("boot ")?;
    let mut session = Session::default();
    for line in lines {
        match line.strip_prefix("driver ") {
            Some(who) => session.drives(driver(who)?),
            None => session.hold(hold(line)?).ok()?,
        }
    }
    Some((boot, session))
}

fn driver(who: &str) -> Option<Driver> {
    match who {
        "guest" => Some(Driver::Guest),
        _ => who.strip_prefix("is ")?.parse().ok().map(Driver::Is),
    }
}

fn hold(line: &str) -> Option<Hold> {
    let mut words = line.split(' ').peekable();
    let under_way = match words.next()? {
        HOLD => false,
        UNDER_WAY => true,
        _ => return None,
    };
    let began = Moment(words.next()?.parse().ok()?);
    let lasts: Lasts = words.next()?.parse().ok()?;
    if under_way && lasts != Lasts::Trip {
        return None;
    }
    let driver = match words.next_if_eq(&"of") {
        Some(_) => Some(words.next()?.parse().ok()?),
        None => None,
    };
    let what = match (words.next()?, words.next(), words.next(), words.next()) {
        ("all", None, None, None) => What::All,
        ("location", None, None, None) => What::Location,
        ("recipient", Some(recipient), None, None) => What::Recipient(recipient.parse().ok()?),
        ("flow", Some(recipient), Some(purpose), None) => {
            What::Flow { recipient: recipient.parse().ok()?, purpose: purpose.parse().ok()? }
        }
        _ => return None,
    };
    Some(Hold { what, lasts, driver, began, under_way })
}

#[cfg(test)]
mod tests;
