//! A TCP proxy before a broker: it can stop forwarding without closing anything, as a link that is gone, can drop all
//! connections, and notes when how many bytes went up.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

type Counts = Arc<Mutex<Vec<(Instant, usize)>>>;

pub(crate) struct Proxy {
    pub(crate) port: u16,
    frozen: Arc<AtomicBool>,
    cuts: watch::Sender<()>,
    /// When how many bytes came from the car.
    pub(crate) up: Counts,
}

impl Proxy {
    pub(crate) async fn before(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let (frozen, up) = (Arc::new(AtomicBool::new(false)), Counts::default());
        let (ice, counts) = (Arc::clone(&frozen), Arc::clone(&up));
        let (cuts, cut) = watch::channel(());
        tokio::spawn(async move {
            loop {
                let (car, _) = listener.accept().await.unwrap();
                let Ok(broker) = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).await else {
                    continue;
                };
                let ((from_car, to_car), (from_broker, to_broker)) = (car.into_split(), broker.into_split());
                let faults = || Faults { ice: Arc::clone(&ice), cut: cut.clone() };
                tokio::spawn(carry((from_car, to_broker), faults(), Some(Arc::clone(&counts))));
                tokio::spawn(carry((from_broker, to_car), faults(), None));
            }
        });
        Self { port: own, frozen, cuts, up }
    }

    pub(crate) fn address(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// All connections are dropped.
    pub(crate) fn cut(&self) {
        self.cuts.send_replace(());
    }

    /// Nothing is forwarded, read, or closed.
    pub(crate) fn freeze(&self, frozen: bool) {
        self.frozen.store(frozen, Ordering::SeqCst);
    }
}

struct Faults {
    ice: Arc<AtomicBool>,
    cut: watch::Receiver<()>,
}

async fn carry(
    (mut from, mut to): (OwnedReadHalf, OwnedWriteHalf),
    mut faults: Faults,
    counts: Option<Counts>,
) {
    faults.cut.mark_unchanged();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            _ = faults.cut.changed() => return,
        };
        let Ok(read @ 1..) = read else { return };
        if let Some(counts) = &counts {
            counts.lock().unwrap().push((Instant::now(), read));
        }
        while faults.ice.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
