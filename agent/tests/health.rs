//! What the service manager hears, over its real socket.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use glovebox::health::{Manager, Watchdog};

/// The name of the test that [`the_service_manager_hears_progress_only`] starts as another process.
const CHILD: &str = "speaks_if_it_is_the_child";

#[test]
fn speaks_if_it_is_the_child() {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    let (manager, watchdog) = (Manager::default(), Watchdog::default());
    assert_eq!(manager.watchdog_every(), Some(Duration::from_secs(5)));
    let pulse = watchdog.pulse("bus");
    manager.ready("replaying\na log").unwrap();
    assert!(watchdog.look().unwrap().is_empty());
    assert_eq!(watchdog.look().unwrap(), ["bus"]);
    pulse.beat();
    manager.status("connected").unwrap();
    assert!(watchdog.look().unwrap().is_empty());
    manager.stopping().unwrap();
}

#[test]
fn the_service_manager_hears_progress_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify.sock");
    let socket = UnixDatagram::bind(&path).unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", CHILD])
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "10000000")
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
    socket.set_nonblocking(true).unwrap();
    let mut heard = Vec::new();
    let mut bytes = [0; 512];
    while let Ok(length) = socket.recv(&mut bytes) {
        heard.push(String::from_utf8_lossy(&bytes[..length]).into_owned());
    }
    let expected = [
        "READY=1\nSTATUS=replaying a log\n",
        "WATCHDOG=1\n",
        "STATUS=connected\n",
        "WATCHDOG=1\n",
        "STOPPING=1\n",
    ];
    assert_eq!(heard, expected);
}
