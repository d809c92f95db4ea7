//! A bus with one message of four signals: a counter in three of them, noise in the last, so that each value tells of
//! which frame it is.

use std::sync::{Arc, LazyLock};

use glovebox_core::decode::Leaves;
use glovebox_core::decode::dbc::Database;
use glovebox_core::decode::leaves::BusDatabase;
use glovebox_core::frame::{BusIndex, CanId, Frame};
use glovebox_core::names::{BusName, Digest, Moment, SignalPath};

/// Stands in every name, so that a leak of it is found.
pub const MARK: &str = "Telltale";

const DBC: &str = "VERSION \"\"\n\nNS_ :\n\nBS_:\n\nBU_: X\n\nBO_ 256 Telltale: 20 X\n SG_ S0 : 0|32@1+ (1,0) [0|0] \"\" X\n SG_ S1 : 32|32@1+ (1,0) [0|0] \"\" X\n SG_ S2 : 64|32@1+ (1,0) [0|0] \"\" X\n SG_ S3 : 96|62@1+ (1,0) [0|0] \"\" X\n";

static LEAVES: LazyLock<Arc<Leaves>> = LazyLock::new(|| {
    let database = Database::parse(DBC.as_bytes(), "sim.dbc").unwrap().0;
    let name = BusName::new("b").unwrap();
    let bus = BusDatabase { bus: BusIndex(0), name, databases: vec![database], mapping: None };
    Arc::new(Leaves::build(&[bus]).unwrap().0)
});

pub fn leaves() -> Arc<Leaves> {
    Arc::clone(&LEAVES)
}

pub fn path(signal: usize) -> SignalPath {
    SignalPath::new(&format!("CAN.b.{MARK}.S{signal}")).unwrap()
}

pub fn signal_of(path: &str) -> Option<usize> {
    path.rsplit_once(".S")?.1.parse().ok()
}

pub fn leaf_digest(signal: &SignalPath) -> Option<Digest> {
    Some(LEAVES.get(LEAVES.find(signal)?)?.digest)
}

/// What is on the bus at `moment`.
pub fn frame(moment: Moment, values: [u64; 4]) -> Frame {
    let mut data = [0; 20];
    for (signal, value) in values.iter().take(3).enumerate() {
        data[signal * 4..][..4].copy_from_slice(&value.to_le_bytes()[..4]);
    }
    data[12..].copy_from_slice(&values[3].to_le_bytes());
    Frame::new(BusIndex(0), CanId::Standard(256), moment, &data).unwrap()
}
