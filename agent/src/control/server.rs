//! The daemon's end of the control socket: bounded in lines, clients and time.

use super::{Request, SocketError};
use glovebox_core::limits::{
    CONTROL_ANSWER_MS_MAX, CONTROL_CLIENTS_MAX, CONTROL_IDLE_MS_MAX, CONTROL_LINE_BYTES_MAX,
};
use serde_json::{Value, json};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Who answers. Called on a thread that may block.
pub trait Handler: Send + Sync + 'static {
    /// The fields of the answer, or why not.
    ///
    /// # Errors
    /// The reason, as the person at the command is to read it.
    fn handle(&self, request: Request) -> Result<Value, String>;
}

/// Makes the socket, mode 0660. What is left of a daemon that died is replaced; a living one's is not.
///
/// # Errors
/// If another daemon listens there, something else is in the way, or the system refuses.
pub fn listen(path: &Path) -> Result<std::os::unix::net::UnixListener, SocketError> {
    let io = |act| move |source| SocketError::Io { act, path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(SocketError::NotASocket { path: path.to_owned() });
        }
        Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(io("replace the old one")(error)),
            Ok(_) => return Err(SocketError::InUse { path: path.to_owned() }),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(io("look at")(error)),
    }
    // Bound under another name and renamed, so that it is never there with a mode open to others.
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let temporary = PathBuf::from(name);
    let _ = fs::remove_file(&temporary);
    let listener = std::os::unix::net::UnixListener::bind(&temporary).map_err(io("make"))?;
    fs::set_permissions(&temporary, fs::Permissions::from_mode(0o660)).map_err(io("set the mode of"))?;
    fs::rename(&temporary, path).map_err(io("put in place"))?;
    listener.set_nonblocking(true).map_err(io("prepare"))?;
    Ok(listener)
}

/// Answers clients until it is dropped; then all connections end.
pub async fn serve(listener: UnixListener, handler: Arc<dyn Handler>) {
    let places = Arc::new(Semaphore::new(CONTROL_CLIENTS_MAX));
    let mut clients = JoinSet::new();
    loop {
        let accepted = listener.accept().await;
        while clients.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _)) if !may_ask(&stream) => {
                turn_away(&stream, "only root and the user of the daemon may ask");
            }
            Ok((stream, _)) => match Arc::clone(&places).try_acquire_owned() {
                Ok(place) => {
                    let handler = Arc::clone(&handler);
                    clients.spawn(async move {
                        attend(stream, handler).await;
                        drop(place);
                    });
                }
                Err(_) => turn_away(&stream, "too many commands at once: try again"),
            },
            Err(error) => {
                // Out of file descriptors, say: waiting is all that helps.
                tracing::warn!(target: "control", "no connection taken: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Only root and the daemon's own user. The kernel vouches for the number.
fn may_ask(stream: &UnixStream) -> bool {
    let own = nix::unistd::geteuid().as_raw();
    let allowed = stream.peer_cred().is_ok_and(|peer| peer.uid() == 0 || peer.uid() == own);
    if !allowed {
        tracing::warn!(target: "control", "a client of another user was turned away");
    }
    allowed
}

fn turn_away(stream: &UnixStream, why: &str) {
    let _ = stream.try_write(&line(&json!({ "ok": false, "error": why })));
}

/// One client, until it leaves, says nothing for too long, or breaks the form.
async fn attend(stream: UnixStream, handler: Arc<dyn Handler>) {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let bound = u64::try_from(CONTROL_LINE_BYTES_MAX).unwrap_or(u64::MAX);
    loop {
        let mut question = Vec::new();
        let mut limited = (&mut reader).take(bound);
        let read = limited.read_until(b'\n', &mut question);
        let idle = Duration::from_millis(CONTROL_IDLE_MS_MAX);
        if !matches!(timeout(idle, read).await, Ok(Ok(count)) if count > 0) {
            return;
        }
        let whole = question.last() == Some(&b'\n');
        let answer = if whole {
            ask(&handler, question).await
        } else {
            json!({ "ok": false, "error": format!("a line has at most {CONTROL_LINE_BYTES_MAX} bytes") })
        };
        let answer = line(&answer);
        let sent = timeout(Duration::from_millis(CONTROL_ANSWER_MS_MAX), writer.write_all(&answer));
        if !matches!(sent.await, Ok(Ok(()))) || !whole {
            return;
        }
    }
}

async fn ask(handler: &Arc<dyn Handler>, question: Vec<u8>) -> Value {
    let request: Request = match serde_json::from_slice(&question) {
        Ok(request) => request,
        // serde repeats what it read; a document could hold a name, so only the place is told.
        Err(error) => {
            let error = format!("not understood at column {}: one JSON object a line", error.column());
            return json!({ "ok": false, "error": error });
        }
    };
    let handler = Arc::clone(handler);
    let answered = tokio::task::spawn_blocking(move || handler.handle(request)).await;
    match answered {
        Ok(Ok(Value::Object(mut fields))) => {
            fields.insert("ok".to_owned(), Value::Bool(true));
            Value::Object(fields)
        }
        Ok(Ok(_)) | Err(_) => json!({ "ok": false, "error": "the daemon failed; its log says more" }),
        Ok(Err(error)) => json!({ "ok": false, "error": error }),
    }
}

fn line(answer: &Value) -> Vec<u8> {
    let mut bytes = answer.to_string().into_bytes();
    bytes.push(b'\n');
    bytes
}
