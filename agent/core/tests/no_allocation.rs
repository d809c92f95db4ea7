//! Decoding takes no memory per frame: counted by an allocator that a test crate brings.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use glovebox_core::decode::dbc::Database;
use glovebox_core::decode::leaves::BusDatabase;
use glovebox_core::decode::{Leaves, Plan};
use glovebox_core::frame::{BusIndex, CanId, Frame};
use glovebox_core::names::{BusName, Moment};

const DBC: &str = "BO_ 1 M: 8 X
 SG_ Mux M : 0|2@1+ (1,0) [0|3] \"\" X
 SG_ A m1 : 7|16@0- (0.1,0) [-5|5] \"\" X
 SG_ B m2 : 16|32@1- (1,0) [0|0] \"\" X
 SG_ C : 4|60@1+ (1,0) [0|0] \"\" X
BO_ 2147483650 E: 64 X
 SG_ Wide : 65|64@1+ (1,0) [0|0] \"\" X
 SG_ Float : 128|32@1- (1,0) [0|0] \"\" X
SIG_VALTYPE_ 2 Float : 1;
";

#[test]
fn no_frame_allocates() {
    let database = Database::parse(DBC.as_bytes(), "a.dbc").unwrap().0;
    let name = BusName::new("can0").unwrap();
    let bus = BusDatabase { bus: BusIndex(0), name, databases: vec![database], mapping: None };
    let (leaves, _) = Leaves::build(&[bus]).unwrap();
    let needed: Vec<_> = leaves.iter().map(|(index, _)| index).collect();
    let plan = Plan::compile(&leaves, &needed);
    let ids = [CanId::Standard(1), CanId::Standard(2), CanId::Extended(2), CanId::Extended(3)];
    let mut readings = Vec::with_capacity(8);
    let mut count = 0;
    let info = allocation_counter::measure(|| {
        for round in 0..1_000u16 {
            for id in ids {
                let length = usize::from(round % 65);
                let byte = u8::try_from(round & 0xFF).unwrap();
                let frame = Frame::new(BusIndex(0), id, Moment(0), &[byte; 64][..length]).unwrap();
                readings.clear();
                plan.decode(&frame, &mut readings);
                count += readings.len();
            }
        }
    });
    assert_eq!(info.count_total, 0);
    assert!(count > 3_000);
    let seen = allocation_counter::measure(|| readings.reserve(1_000));
    assert_eq!(seen.count_total, 1, "the counter counts");
}
