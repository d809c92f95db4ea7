//! Ctrl-C and SIGTERM, and that no process of the demo outlives it.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use tokio::signal::unix::{SignalKind, signal};

static ASKED: AtomicBool = AtomicBool::new(false);

/// Notes from now on that the demo is to end.
pub(crate) fn watch() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        ASKED.store(true, Ordering::Release);
    })?;
    Ok(())
}

/// Whether it is to end.
pub(crate) fn is_asked() -> bool {
    ASKED.load(Ordering::Acquire)
}

/// In a child: the kernel ends it when the demo ends, however that ended. Always true.
pub(crate) fn with_parent() -> bool {
    // Without it, the demo ends its children itself, unless it is killed.
    let _old_kernel = set_pdeathsig(Signal::SIGKILL);
    true
}
