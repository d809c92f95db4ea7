//! Databases and mappings to leaves: paths, VSS names, what is refused, and the digest that consent rests on.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use glovebox_core::decode::Leaves;
use glovebox_core::decode::dbc::Database;
use glovebox_core::decode::leaves::{BusDatabase, ByteOrder, Leaf, LeavesError, Number};
use glovebox_core::decode::map::{MapError, Mapping};
use glovebox_core::frame::{BusIndex, CanId, Frame};
use glovebox_core::names::{BusName, Digest, Moment, SignalPath};
use std::collections::HashSet;

const DBC: &str = "BO_ 170 Wheels: 8 X\n SG_ Speed M : 7|16@0- (0.01,-1) [-100|250] \"kph\" X\n SG_ Gear m2 : 16|3@1+ (1,0) [0|0] \"\" X\nVAL_ 170 Gear 0 \"P\" 1 \"D\" ;\n";

fn database(text: &str, place: &str) -> Database {
    Database::parse(text.as_bytes(), place).unwrap().0
}

fn bus(number: u8, texts: &[&str], mapping: Option<&str>) -> BusDatabase {
    let databases =
        texts.iter().enumerate().map(|(n, text)| database(text, &format!("{number}{n}.dbc"))).collect();
    let mapping = mapping.map(|text| Mapping::parse(text.as_bytes(), "map.json").unwrap().0);
    let name = BusName::new(&format!("can{number}")).unwrap();
    BusDatabase { bus: BusIndex(number), name, databases, mapping }
}

fn paths(leaves: &Leaves) -> Vec<&str> {
    leaves.iter().map(|(_, leaf)| leaf.path.as_str()).collect()
}

fn leaf(text: &str) -> Leaf {
    let (leaves, _) = Leaves::build(&[bus(0, &[text], None)]).unwrap();
    leaves.iter().last().unwrap().1.clone()
}

#[test]
fn paths_name_bus_message_and_signal() {
    let (leaves, notices) = Leaves::build(&[bus(0, &[DBC], None), bus(1, &[DBC], None)]).unwrap();
    let want =
        ["CAN.can0.Wheels.Speed", "CAN.can0.Wheels.Gear", "CAN.can1.Wheels.Speed", "CAN.can1.Wheels.Gear"];
    assert_eq!(paths(&leaves), want);
    assert_eq!(notices, []);
    for (index, leaf) in leaves.iter() {
        assert_eq!(leaves.find(&leaf.path), Some(index));
        assert_eq!(leaves.get(index), Some(leaf));
    }
    let [speed, gear, other] = [0, 1, 2].map(|n| leaves.iter().nth(n).unwrap().1);
    assert!(!speed.same_frames(gear) && !speed.same_frames(other) && speed.same_frames(speed));
    assert_eq!((speed.id, speed.bus, other.bus), (CanId::Standard(170), BusIndex(0), BusIndex(1)));
    assert_eq!((speed.range, gear.range), (Some((-100.0, 250.0)), None));
    assert_eq!(gear.selectors[0].ranges, [(2, 2)]);
}

#[test]
fn long_names_and_messages_of_one_name() {
    let long = format!(
        "{DBC}BA_ \"SystemSignalLongSymbol\" SG_ 170 Gear \"Gear lever: position\";\nBA_ \"SystemMessageLongSymbol\" BO_ 170 \"Wheels_of_the_rear_axle\";\n"
    );
    let (leaves, _) = Leaves::build(&[bus(0, &[&long], None)]).unwrap();
    let want =
        ["CAN.can0.Wheels_of_the_rear_axle.Speed", "CAN.can0.Wheels_of_the_rear_axle.Gear_lever__position"];
    assert_eq!(paths(&leaves), want);
    assert_eq!(leaves.iter().last().unwrap().1.names.len(), 2, "the value table goes by the short name");
    let twins = format!("{DBC}{}", DBC.replace("170", "2147483819"));
    let (leaves, _) = Leaves::build(&[bus(0, &[&twins], None)]).unwrap();
    assert_eq!(paths(&leaves)[2..], ["CAN.can0.Wheels-000000ab.Speed", "CAN.can0.Wheels-000000ab.Gear"]);
}

#[test]
fn one_name_for_two_signals_is_refused_and_the_same_twice_is_told() {
    let (leaves, notices) = Leaves::build(&[bus(0, &[DBC, DBC], None)]).unwrap();
    assert_eq!((leaves.len(), notices.len()), (2, 2));
    assert_eq!(notices[0].to_string(), "01.dbc:2:1: the signal is left out: 00.dbc:2 has the same name");
    let other = DBC.replace("0.01", "0.02");
    let error = Leaves::build(&[bus(0, &[DBC, &other], None)]).unwrap_err();
    assert_eq!(error, LeavesError::Duplicate { first: "00.dbc:2".to_owned(), second: "01.dbc:2".to_owned() });
    let long = format!("{DBC}BA_ \"SystemSignalLongSymbol\" SG_ 170 Gear \"{}\";\n", "x".repeat(300));
    let (leaves, notices) = Leaves::build(&[bus(0, &[&long], None)]).unwrap();
    assert_eq!(leaves.len(), 1);
    assert!(notices[0].what.contains("more than 256 characters"), "{}", notices[0]);
}

const MAP: &str = r#"{"Vehicle": {"type": "branch", "children": {
    "Speed": {"type": "sensor", "dbc2vss": {"signal": "Speed", "interval_ms": 100}},
    "OBD": {"type": "branch", "children": {"Speed": {"dbc": {"signal": "Speed", "on_change": true}}}},
    "Gear": {"dbc2vss": {"signal": "Gear", "transform": {"mapping": [{"from": "P", "to": 0}]}}},
    "Other": {"dbc2vss": {"signal": "Absent", "odd": 1}, "vss2dbc": {"signal": "Absent"}},
    "Plain": {"type": "sensor"}}}}"#;

#[test]
fn a_mapping_renames_and_tells_what_it_leaves_out() {
    let (mapping, notices) = Mapping::parse(MAP.as_bytes(), "map.json").unwrap();
    let entries: Vec<_> = mapping
        .entries
        .iter()
        .map(|entry| (entry.path.as_str(), entry.interval_ms, entry.on_change, entry.transform.is_some()))
        .collect();
    let want = [
        ("Vehicle.Gear", None, None, true),
        ("Vehicle.OBD.Speed", None, Some(true), false),
        ("Vehicle.Other", None, None, false),
        ("Vehicle.Speed", Some(100), None, false),
    ];
    assert_eq!(entries, want);
    assert_eq!(notices.len(), 1);
    assert_eq!(notices[0].what, "Vehicle.children.Other.dbc2vss.odd: the key is not known and left out");
    let (leaves, notices) = Leaves::build(&[bus(0, &[DBC], Some(MAP))]).unwrap();
    assert_eq!(paths(&leaves), ["Vehicle.OBD.Speed", "Vehicle.Speed", "Vehicle.Gear"]);
    let notices: Vec<String> = notices.iter().map(ToString::to_string).collect();
    let want = [
        "map.json: Vehicle.children.Other.dbc2vss: the entry is left out: no database of bus `can0` has its signal",
    ];
    assert_eq!(notices, want);
}

#[test]
fn a_mapping_means_one_signal_of_its_bus() {
    let twin = DBC.replace("170 Wheels", "171 Others");
    // On another bus the same name does not disturb, but there the mapping would give the same VSS name.
    let (leaves, _) = Leaves::build(&[bus(0, &[DBC], Some(MAP)), bus(1, &[DBC], None)]).unwrap();
    assert_eq!(leaves.len(), 5);
    let error = Leaves::build(&[bus(0, &[DBC, &twin], Some(MAP))]).unwrap_err();
    let want = "map.json: Vehicle.children.Gear.dbc2vss names a signal that bus `can0` has twice: at 00.dbc:3 and at 01.dbc:3; leave one of the databases out";
    assert_eq!(error.to_string(), want);
    // Messages of one database that say the same: the first. Others: which of them is meant nobody knows.
    let both = format!("{DBC}{}VAL_ 171 Gear 0 \"P\" 1 \"D\" ;\n", twin.split("VAL_").next().unwrap());
    let (leaves, notices) = Leaves::build(&[bus(0, &[&both], Some(MAP))]).unwrap();
    let speed = leaves.get(leaves.find(&SignalPath::new("Vehicle.Speed").unwrap()).unwrap()).unwrap();
    assert_eq!((speed.id, leaves.len(), notices.len()), (CanId::Standard(170), 5, 4));
    let want = "map.json: Vehicle.children.OBD.children.Speed.dbc: the database has its signal in several messages, all alike; the first counts, at 00.dbc:2";
    assert_eq!(notices[1].to_string(), want);
    for (from, to) in [("171 Gear 0", "171 Gear 2"), ("SG_ Speed M : 7", "SG_ Speed M : 9")] {
        let other = format!("{DBC}{}", both[DBC.len()..].replace(from, to));
        assert!(matches!(Leaves::build(&[bus(0, &[&other], Some(MAP))]), Err(LeavesError::Ambiguous { .. })));
    }
    let error = Leaves::build(&[bus(0, &[DBC], Some(MAP)), bus(1, &[DBC], Some(MAP))]).unwrap_err();
    let place = "map.json: Vehicle.children.OBD.children.Speed.dbc";
    assert_eq!(error, LeavesError::Duplicate { first: place.to_owned(), second: place.to_owned() });
}

#[test]
fn faulty_mappings_name_their_place() {
    let error = |text: &str| Mapping::parse(text.as_bytes(), "map.json").unwrap_err().to_string();
    let entry =
        |entry: &str| error(&format!(r#"{{"Vehicle": {{"children": {{"A": {{"dbc2vss": {entry}}}}}}}}}"#));
    let at = "map.json: Vehicle.children.A.dbc2vss";
    for (got, want) in [
        (
            error("{\n \"Vehicle\": }"),
            "map.json:2:13: this is not JSON (expected value); mend it there".to_owned(),
        ),
        (error("[]"), "map.json: the file: must be an object".to_owned()),
        (error(r#"{"Vehicle": 1}"#), "map.json: Vehicle: must be an object".to_owned()),
        (
            error(r#"{"Vehicle": {"children": []}}"#),
            "map.json: Vehicle.children: must be an object".to_owned(),
        ),
        (error(r#"{"A": {"dbc": {}, "dbc2vss": {}}}"#), "map.json: A: has `dbc` and `dbc2vss`".to_owned()),
        (error(r#"{"A": {"dbc": {}, "children": {}}}"#), "map.json: A.dbc: stands at a branch".to_owned()),
        (
            error(r#"{"A b": {"dbc": {"signal": "S"}}}"#),
            "map.json: A b.dbc: signal path `A b` holds the character ' '".to_owned(),
        ),
        (entry("3"), format!("{at}: must be an object")),
        (entry("{}"), format!("{at}: has no `signal`")),
        (entry(r#"{"signal": 3}"#), format!("{at}.signal: must be the name of a DBC signal")),
        (entry(r#"{"signal": ""}"#), format!("{at}.signal: must be the name of a DBC signal")),
        (entry(r#"{"signal": "S", "interval_ms": -1}"#), format!("{at}.interval_ms: must be a whole number")),
        (entry(r#"{"signal": "S", "on_change": 1}"#), format!("{at}.on_change: must be true or false")),
    ] {
        assert!(got.starts_with(&want), "{got}\nwant {want}");
    }
    let deep = format!("{}{}", r#"{"A": {"children": "#.repeat(200), "}".repeat(400));
    assert!(error(&deep).contains("recursion limit"));
    let large = vec![b' '; glovebox_core::limits::MAPPING_FILE_BYTES_MAX + 1];
    assert!(matches!(Mapping::parse(&large, "map.json"), Err(MapError::TooLarge { .. })));
    assert_eq!(Mapping::parse(b"{}", "map.json").unwrap().1.len(), 1, "an empty mapping is told");
}

#[test]
fn values_are_exact() {
    let check = |rest: &str, data: [u8; 8], want: Number, label: Option<&str>| {
        let names = "VAL_ 1 S -1 \"minus one\" 0 \"nought\" 0 \"zero\" 200 \"much\" ;";
        let leaf = leaf(&format!("BO_ 1 M: 8 X\n SG_ S : {rest} [0|0] \"\" X\n{names}\n"));
        let frame = Frame::new(BusIndex(0), CanId::Standard(1), Moment(0), &data).unwrap();
        let raw = leaf.raw(&frame).unwrap();
        assert_eq!((leaf.value(raw), leaf.label(raw)), (want, label), "{rest}");
    };
    let ones = [0xFF; 8];
    check("0|64@1+ (1,0)", ones, Number::Integer(i128::from(u64::MAX)), None);
    check("0|64@1+ (-3,7)", ones, Number::Integer(-3 * i128::from(u64::MAX) + 7), None);
    check("0|64@1- (1,0)", ones, Number::Integer(-1), Some("minus one"));
    check("0|8@1- (2.0,0)", ones, Number::Integer(-2), Some("minus one"));
    check("0|8@1+ (1,0)", [200; 8], Number::Integer(200), Some("much"));
    check("0|8@1+ (0.1,0)", [3; 8], Number::Float(3.0 * 0.1), None);
    check("0|8@1+ (1,0.5)", [0; 8], Number::Float(0.5), Some("zero"));
    check("0|8@1+ (1e300,0)", [1; 8], Number::Float(1e300), None);
    check("0|1@1+ (1,0)", [1; 8], Number::Integer(1), None);
}

/// Each fact of a leaf changes its digest, and the digest is the one that was given out before.
#[test]
fn digests_are_over_all_that_is_compiled() {
    let base = "BO_ 170 M: 8 X\n SG_ X M : 0|4@1+ (1,0) [0|0] \"\" X\n SG_ S m2 : 8|16@1+ (0.5,1) [0|10] \"kph\" X\nVAL_ 170 S 0 \"off\" 1 \"on\" ;\n";
    let changes = [
        ("BO_ 170", "BO_ 171"),
        ("BO_ 170", "BO_ 2147483818"),
        ("0|4@1+", "0|5@1+"),
        ("m2", "m3"),
        ("8|16", "9|16"),
        ("8|16", "8|15"),
        ("8|16@1+", "8|16@0+"),
        ("8|16@1+", "8|16@1-"),
        ("(0.5,1)", "(0.25,1)"),
        ("(0.5,1)", "(0.5,2)"),
        ("[0|10]", "[0|11]"),
        ("[0|10]", "[0|0]"),
        ("kph", "mph"),
        ("\"on\"", "\"ON\""),
        ("1 \"on\"", "2 \"on\""),
        (" 1 \"on\"", ""),
    ];
    let mut seen: HashSet<Digest> = HashSet::new();
    assert!(seen.insert(leaf(base).digest));
    for (from, to) in changes {
        let changed = base.replace(from, to);
        let changed = match to.strip_prefix("BO_ ") {
            Some(id) => changed.replace("VAL_ 170", &format!("VAL_ {id}")),
            None => changed,
        };
        assert!(seen.insert(leaf(&changed).digest), "{from} to {to}");
    }
    let (other, _) = Leaves::build(&[bus(1, &[base], None)]).unwrap();
    assert!(seen.insert(other.iter().last().unwrap().1.digest), "the bus");
    // Names, order in the file, and the number of the bus do not matter.
    let renamed = base.replace(" S ", " T ").replace(" M:", " N:");
    assert_eq!(leaf(&renamed).digest, leaf(base).digest);
    assert_eq!(leaf(base).layout.order, ByteOrder::LittleEndian);
    // Computed apart, by the format at the head of `digest.rs`.
    let want = "11a967fec1785b360067ffe9332c1a0daaecd3278b96f854a57c4162ea1938a6";
    assert_eq!(leaf(base).digest.to_string(), want);
}
