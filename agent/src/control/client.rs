//! The commands' end of the control socket.

use super::{
    Accepted, Authority, AuthorityError, ClockStatus, Consent, Draft, DraftOrder, DriverOrder, DriverStatus,
    EnrolmentOrder, InCar, Owner, Request, SocketError, TrustsClock, Why, WhyOrder, WithdrawOrder, Withdrawn,
};
use glovebox_core::consent::session::{HoldStatus, Lasts, Scope, What};
use glovebox_core::limits::{CONTROL_ANSWER_MS_MAX, CONTROL_LINE_BYTES_MAX};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Asks the running daemon: a connection for each question, since whoever has to read and agree between two takes longer
/// than a daemon waits.
#[derive(Debug)]
pub struct ControlClient {
    path: PathBuf,
    /// For the first question.
    stream: Option<UnixStream>,
}

impl ControlClient {
    /// Connects to the daemon; `None` if none runs.
    ///
    /// # Errors
    /// If there is one and it may not or cannot be asked.
    pub fn connect(path: &Path) -> Result<Option<Self>, SocketError> {
        let stream = dial(path)?;
        Ok(stream.map(|stream| Self { path: path.to_owned(), stream: Some(stream) }))
    }

    /// What runs now, as the daemon says it.
    ///
    /// # Errors
    /// If it cannot be asked.
    pub fn status(&mut self) -> Result<Value, AuthorityError> {
        self.ask(&Request::Status {})
    }

    /// Why a signal leaves or does not.
    ///
    /// # Errors
    /// If it cannot be asked.
    pub fn why(&mut self, order: &WhyOrder) -> Result<Why, AuthorityError> {
        let answer = self.ask(&Request::Why(order.clone()))?;
        self.typed(answer)
    }

    /// Asks and returns the answer, less its `ok`.
    fn ask(&mut self, request: &Request) -> Result<Value, AuthorityError> {
        let path = self.path.clone();
        let bad = |what: &str| SocketError::Answer { path: path.clone(), what: what.to_owned() };
        let mut line = serde_json::to_vec(request).map_err(|_| bad("the question cannot be written"))?;
        line.push(b'\n');
        let answer = self.line(&line)?;
        let mut answer: Value = serde_json::from_slice(&answer).map_err(|_| bad("the answer is no JSON"))?;
        let fields = answer.as_object_mut().ok_or_else(|| bad("the answer is no object"))?;
        match (fields.remove("ok"), fields.get("error")) {
            (Some(Value::Bool(true)), _) => Ok(answer),
            (_, Some(Value::String(error))) => Err(AuthorityError::Refused(error.clone())),
            _ => Err(bad("the answer says neither yes nor why not").into()),
        }
    }

    /// Sends a line and returns the one that comes back.
    fn line(&mut self, line: &[u8]) -> Result<Vec<u8>, SocketError> {
        let path = self.path.clone();
        let stream = self.stream.take().map_or_else(|| dial(&path), |stream| Ok(Some(stream)))?;
        let Some(mut stream) = stream else { return Err(SocketError::Ended { path }) };
        // A server that turns a client away closes before it reads: its reason is worth more than our broken pipe.
        let sent = stream.write_all(line);
        let mut answer = Vec::new();
        let bound = u64::try_from(CONTROL_LINE_BYTES_MAX).unwrap_or(u64::MAX);
        let read = BufReader::new(stream).take(bound).read_until(b'\n', &mut answer);
        let failed = read.err().or(sent.err().filter(|_| answer.is_empty()));
        match failed.map(|error| (error.kind(), error)) {
            None if answer.ends_with(b"\n") || answer.len() >= CONTROL_LINE_BYTES_MAX => Ok(answer),
            None | Some((ErrorKind::BrokenPipe | ErrorKind::ConnectionReset, _)) => {
                Err(SocketError::Ended { path })
            }
            Some((ErrorKind::WouldBlock | ErrorKind::TimedOut, _)) => {
                Err(SocketError::Answer { path, what: "the daemon did not answer in time".to_owned() })
            }
            Some((_, error)) => Err(io("ask", &path)(error)),
        }
    }

    fn typed<T: DeserializeOwned>(&self, value: Value) -> Result<T, AuthorityError> {
        serde_json::from_value(value).map_err(|error| {
            let what = format!("the answer does not fit ({error}): is the daemon of another version?");
            SocketError::Answer { path: self.path.clone(), what }.into()
        })
    }
}

impl Authority for ControlClient {
    fn draft(&mut self, order: &DraftOrder) -> Result<Draft, AuthorityError> {
        let answer = self.ask(&Request::Draft(order.clone()))?;
        self.typed(answer)
    }

    fn submit(&mut self, document: &[u8]) -> Result<Accepted, AuthorityError> {
        let answer = self.ask(&Request::Submit { document: document.to_vec() })?;
        self.typed(answer)
    }

    fn withdraw(&mut self, order: &WithdrawOrder) -> Result<Vec<Withdrawn>, AuthorityError> {
        let mut answer = self.ask(&Request::Withdraw(order.clone()))?;
        self.typed(answer["withdrawn"].take())
    }

    fn list(&mut self) -> Result<Vec<Consent>, AuthorityError> {
        let mut answer = self.ask(&Request::Consents {})?;
        self.typed(answer["consents"].take())
    }

    fn draft_enrolment(&mut self, order: &EnrolmentOrder) -> Result<Draft, AuthorityError> {
        let answer = self.ask(&Request::DraftEnrolment(*order))?;
        self.typed(answer)
    }

    fn owners(&mut self) -> Result<Vec<Owner>, AuthorityError> {
        let mut answer = self.ask(&Request::Owners {})?;
        self.typed(answer["owners"].take())
    }
}

impl ControlClient {
    fn holds(&mut self, request: &Request) -> Result<Vec<HoldStatus>, AuthorityError> {
        let mut answer = self.ask(request)?;
        self.typed(answer["holds"].take())
    }
}

impl InCar for ControlClient {
    fn hold(&mut self, what: &What, lasts: Lasts, scope: Scope) -> Result<Vec<HoldStatus>, AuthorityError> {
        self.holds(&Request::Hold { what: what.clone(), lasts, scope })
    }

    fn release(&mut self, what: &What, scope: Scope) -> Result<Vec<HoldStatus>, AuthorityError> {
        self.holds(&Request::Release { what: what.clone(), scope })
    }

    fn driver(&mut self, order: &DriverOrder) -> Result<DriverStatus, AuthorityError> {
        let answer = self.ask(&Request::Driver(order.clone()))?;
        self.typed(answer)
    }

    fn trip_ended(&mut self) -> Result<Vec<HoldStatus>, AuthorityError> {
        self.holds(&Request::TripEnded {})
    }
}

impl TrustsClock for ControlClient {
    fn clock(&mut self) -> Result<ClockStatus, AuthorityError> {
        let answer = self.ask(&Request::Clock {})?;
        self.typed(answer)
    }

    fn trust_clock(&mut self) -> Result<ClockStatus, AuthorityError> {
        let answer = self.ask(&Request::TrustClock {})?;
        self.typed(answer)
    }
}

/// A new connection; `None` if no daemon runs.
fn dial(path: &Path) -> Result<Option<UnixStream>, SocketError> {
    let stream = match UnixStream::connect(path) {
        Ok(stream) => stream,
        Err(error) => match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => return Ok(None),
            ErrorKind::PermissionDenied => return Err(SocketError::Denied { path: path.to_owned() }),
            _ => return Err(io("connect", path)(error)),
        },
    };
    let wait = Some(Duration::from_millis(CONTROL_ANSWER_MS_MAX));
    let set = stream.set_read_timeout(wait).and_then(|()| stream.set_write_timeout(wait));
    set.map(|()| Some(stream)).map_err(io("connect", path))
}

fn io(act: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> SocketError {
    move |source| SocketError::Io { act, path: path.to_owned(), source }
}
