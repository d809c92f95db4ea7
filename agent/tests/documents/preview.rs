//! `glovebox preview` as a person, an auditor and a browser meet it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use glovebox_core::names::Digest;
use serde_json::Value;

use super::made::{GRANT, car, glovebox, records, run};

const FILES: &str = "--log drive.log --dbc car.dbc";

/// A minute of a car that speeds up by 1 km/h a second, ten frames a second.
fn drive(folder: &Path) {
    let mut log = String::new();
    for at in 0u32..600 {
        let raw = (at * 10).to_le_bytes();
        let (second, part) = (at / 10, at % 10);
        let _ = writeln!(
            log,
            "({}.{part}00000) can0 123#{:02X}{:02X}000000000000",
            1_700_000_000 + second,
            raw[0],
            raw[1]
        );
    }
    std::fs::write(folder.join("drive.log"), log).unwrap();
}

fn told(folder: &Path, line: &str) -> (Option<i32>, String) {
    let output = run(folder, line);
    (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

fn json(folder: &Path, line: &str) -> Value {
    let output = run(folder, &format!("{line} --json"));
    assert!(output.status.code() < Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn checks(report: &Value) -> Vec<(bool, &str)> {
    let checks = report["signatures"].as_array().unwrap().iter();
    checks.map(|it| (it["verified"] == true, it["what"].as_str().unwrap())).collect()
}

#[test]
fn an_unsigned_bundle_is_taken_and_said_to_be_unsigned() {
    let car = car();
    let folder = car.path();
    drive(folder);
    let report = json(folder, &format!("preview --policy b.json {FILES}"));
    let flow = &report["flows"][0];
    assert_eq!((&flow["recipient"], &flow["samples_in"]), (&Value::from("acme"), &Value::from(600)));
    // Once a second, in steps of 5 km/h.
    let signal = &flow["signals"][0];
    assert_eq!((&signal["samples_out"], &signal["leaves"]), (&Value::from(60), &Value::from(true)));
    assert_eq!(signal["becomes"], "rounded down to steps of 5 km/h; at most once in 1 s");
    assert_eq!(signal["range_in"], serde_json::json!([0.0, 59.9]));
    assert_eq!(signal["range_out"], serde_json::json!([0.0, 55.0]));
    let (bytes, share) = (flow["bytes"].as_u64().unwrap(), signal["bytes"].as_u64().unwrap());
    assert!(bytes > 6 * 200 && share == bytes, "six sealed batches of one signal: {flow}");
    assert_eq!(
        checks(&report),
        [
            (false, "the policy bundle is not signed yet"),
            (true, "requests and HPKE keys, by the request keys in the policy bundle"),
            (false, "no owner has agreed: each yes here is only supposed"),
        ]
    );
    let (code, words) = told(folder, &format!("preview --policy b.json {FILES}"));
    assert_eq!(code, Some(0));
    assert!(words.starts_with("A preview: nothing was sent, stored or granted."), "{words}");
    assert!(words.contains("NOT VERIFIED: the policy bundle is not signed yet"), "{words}");
}

#[test]
fn signatures_are_checked_where_a_key_is_named() {
    let car = car();
    let folder = car.path();
    drive(folder);
    let good = json(folder, &format!("preview --policy b.dsse --authority root.pub {FILES}"));
    assert_eq!(checks(&good)[0], (true, "the policy bundle's, by root.pub"));
    let unchecked = json(folder, &format!("preview --policy b.dsse {FILES}"));
    assert!(!checks(&unchecked)[0].0, "{unchecked}");
    for (line, why) in [
        ("--policy b.dsse --authority owner.pub", "no car would take this policy"),
        ("--policy b.json --authority root.pub", "`--authority` needs it signed"),
        ("--policy r.json", "not a policy bundle"),
        ("--policy absent.json", "absent.json"),
        ("--policy b.json --record b.json", "not a consent record"),
    ] {
        let (code, words) = told(folder, &format!("preview {line} {FILES}"));
        assert_eq!(code, Some(2), "{line}: {words}");
        assert!(words.contains(why), "{line}: {words}");
    }
    // One request with another's signature: refused as in a car, though the bundle is not checked.
    let mut bundle: Value = serde_json::from_slice(&std::fs::read(folder.join("b.json")).unwrap()).unwrap();
    bundle["requests"][0]["signatures"][0]["sig"] = STANDARD.encode([7; 64]).into();
    std::fs::write(folder.join("forged.json"), bundle.to_string()).unwrap();
    let (code, words) = told(folder, &format!("preview --policy forged.json {FILES}"));
    assert!(code == Some(2) && words.contains("requests[0]"), "{words}");
}

/// The record that the car holds, and what a later narrowing leaves of it.
#[test]
fn records_say_exactly_what_is_granted() {
    let car = car();
    let folder = car.path();
    drive(folder);
    glovebox(folder, GRANT);
    let record = records(folder).remove(0);
    std::fs::write(folder.join("given.dsse"), record.to_string()).unwrap();
    let line = format!("preview --policy b.dsse --record given.dsse {FILES}");
    let report = json(folder, &format!("{line} --owner owner.pub"));
    assert_eq!(report["flows"][0]["samples_out"], 60);
    assert!(checks(&report)[2].0, "{report}");
    assert!(!checks(&json(folder, &line))[2].0, "without a key it is not verified");
    let (code, words) = told(folder, &format!("{line} --owner root.pub"));
    assert!(code == Some(2) && words.contains("given.dsse"), "{words}");
    // The same record with a no in it: unsigned, so that its words count and no signature does.
    let payload = STANDARD.decode(record["payload"].as_str().unwrap()).unwrap();
    let mut refused: Value = serde_json::from_slice(&payload).unwrap();
    refused["pii_information"][0]["decision"] = "no".into();
    std::fs::write(folder.join("no.json"), refused.to_string()).unwrap();
    let line = format!("preview --policy b.dsse --record no.json {FILES}");
    let report = json(folder, &line);
    assert_eq!(report["flows"][0]["samples_out"], 0);
    assert_eq!(report["flows"][0]["signals"][0]["samples_in"], 600, "it is looked at all the same");
    assert_eq!(told(folder, &line).0, Some(1), "nothing would leave");
}

/// Every file below a folder with its bytes.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => all.extend(files(&path)),
            false => drop(all.insert(path.clone(), std::fs::read(&path).unwrap())),
        }
    }
    all
}

#[test]
fn what_is_installed_is_previewed_and_no_store_is_touched() {
    let car = car();
    let folder = car.path();
    drive(folder);
    let line = "--config try.toml preview --log drive.log";
    let (code, words) = told(folder, line);
    assert_eq!(code, Some(1), "nothing is granted: {words}");
    assert!(words.contains("the owner has not agreed to this purpose"), "{words}");
    glovebox(folder, GRANT);
    let before = files(&folder.join("state"));
    let report = json(folder, line);
    assert_eq!(report["flows"][0]["samples_out"], 60);
    assert!(checks(&report).iter().all(|(verified, _)| *verified), "{report}");
    assert_eq!(files(&folder.join("state")), before);
    assert_eq!(report["flows"][0]["notes"], serde_json::json!([]));
    // What is set in the car, and a day's bytes, are said where they would keep something back.
    glovebox(folder, "--config try.toml pause until-ended --recipient acme");
    glovebox(folder, &format!("{GRANT} --max-bytes-per-day 1000"));
    let report = json(folder, line);
    let notes = serde_json::json!([
        "At most 1,000 bytes a day leave; here nothing is held back for that.",
        "Sending to it is paused in the car now; here it is not.",
    ]);
    assert_eq!((&report["flows"][0]["notes"], &report["flows"][0]["samples_out"]), (&notes, &60.into()));
    // The first batch has the descriptor: a grant of the least that may be agreed to has room for it.
    let one = json(folder, &format!("{line} --to 5"));
    let bytes = one["flows"][0]["bytes"].as_u64().unwrap();
    assert!(one["flows"][0]["batches"] == 1 && (288..=576).contains(&bytes), "{bytes}");
    // A daemon holds its stores; here the test does.
    let held = glovebox::policy_store::PolicyStore::open(&folder.join("state")).unwrap();
    assert_eq!(json(folder, line)["flows"][0]["samples_out"], 60);
    drop(held);
}

#[test]
fn what_leaves_only_around_an_event_says_so() {
    let car = car();
    let folder = car.path();
    drive(folder);
    let around = "--signal CAN.can0.Motion.Speed --only-around CAN.can0.Motion.Speed>20 --before 5 --after 5";
    for line in [
        format!("policy new request --recipient acme --purpose speed {around} -o e.json"),
        "policy sign e.json --type request --key acme.key -o e.dsse".to_owned(),
        "policy new bundle --device car-1 --recipient acme:Acme:DE:acme.pub:h.dsse --request e.dsse --category driving=CAN.* -o b.json".to_owned(),
    ] {
        glovebox(folder, &line);
    }
    let said = "Leaves only from 5 s before to 5 s after this becomes true: CAN.can0.Motion.Speed>20; not again within 60 s.";
    let line = format!("preview --policy b.json {FILES} --html page.html");
    let report = json(folder, &line);
    assert_eq!(report["flows"][0]["notes"], serde_json::json!([said]));
    assert_eq!(report["flows"][0]["samples_out"], 101, "five seconds before and after, ten a second");
    let page = std::fs::read_to_string(folder.join("page.html")).unwrap();
    assert!(page.contains(&said.replace('>', "&gt;")));
    assert!(told(folder, &line).1.contains(said));
}

#[test]
fn a_part_of_the_drive_and_of_what_is_asked_for() {
    let car = car();
    let folder = car.path();
    drive(folder);
    let line = format!("preview --policy b.json {FILES}");
    let report = json(folder, &format!("{line} --from 0:30 --to 45"));
    assert_eq!((&report["log"]["frames"], &report["flows"][0]["samples_out"]), (&150.into(), &15.into()));
    let unwritable = told(folder, "preview --policy b.json --log absent.log --dbc car.dbc --html no/x.html");
    assert!(unwritable.0 == Some(2) && unwritable.1.contains("no/x.html"), "{}", unwritable.1);
    for (more, code, why) in [
        ("--from 2:00", 2, "nothing lies between `--from` and `--to`: the log is 0:00:59 long"),
        ("--from x", 2, "is no time into the log"),
        ("--recipient borg", 2, "nobody asks"),
        ("--signal Vehicle.*", 2, "nobody asks"),
        ("--bus can7", 2, "no frame is of can7: the log has can0"),
        ("--recipient a?me --signal CAN.*.Speed", 0, "acme for speed"),
    ] {
        let (found, words) = told(folder, &format!("{line} {more}"));
        assert_eq!(found, Some(code), "{more}: {words}");
        assert!(words.contains(why), "{more}: {words}");
    }
    let (code, words) = told(folder, "preview --policy b.json --log drive.log");
    assert!(code == Some(2) && words.contains("`--dbc`"), "{words}");
    // A key is never written over.
    let (code, words) = told(folder, &format!("{line} --html owner.key"));
    assert!(code == Some(2) && words.contains("not overwritten"), "{words}");
}

/// Elements and attributes that a page may have.
const ELEMENTS: &str = " html head meta title style body main h1 h2 h3 p strong em small a q dl dt dd ul li span div table \
                        thead tbody tr th td section figure figcaption svg path text wbr footer ";
const ATTRIBUTES: &str = " lang charset http-equiv content name class id href scope viewBox role d x y ";

/// Name and attributes of every tag; whatever is no tag has no angle bracket.
fn tags(page: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut all = Vec::new();
    for part in page.split('<').skip(1) {
        let (tag, text) = part.split_once('>').unwrap();
        assert!(!text.contains('>'), "a bracket in the text: {text}");
        let (name, mut rest) = tag.split_once(' ').unwrap_or((tag, ""));
        let mut attributes = Vec::new();
        while let Some((attribute, behind)) = rest.trim_start().split_once("=\"") {
            let (value, behind) = behind.split_once('"').unwrap();
            attributes.push((attribute.to_owned(), value.to_owned()));
            rest = behind;
        }
        assert!(matches!(rest.trim(), "" | "/"), "{tag}");
        all.push((name.trim_start_matches('/').to_owned(), attributes));
    }
    all
}

/// No script, no handler, no address, no style but its own.
fn is_strict(page: &str) {
    let page = page.strip_prefix("<!DOCTYPE html>").unwrap();
    let style = page.split("<style>").nth(1).unwrap().split("</style>").next().unwrap();
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        STANDARD.encode(Digest::of(style.as_bytes()).0)
    );
    assert!(!style.contains("url(") && !style.contains("@import"));
    let page = page.replace(style, "");
    let mut policies = 0;
    for (name, attributes) in tags(&page) {
        assert!(ELEMENTS.contains(&format!(" {name} ")), "<{name}>");
        for (attribute, value) in attributes {
            assert!(ATTRIBUTES.contains(&format!(" {attribute} ")), "<{name} {attribute}>");
            assert!(attribute != "href" || value.starts_with("#flow-"), "{value}");
            policies += usize::from(attribute == "content" && value == policy);
        }
    }
    assert_eq!(policies, 1, "one policy, of that style");
}

/// A bundle, a request and a DBC whose author means harm.
#[test]
fn a_hostile_name_stays_text() {
    const EVIL: &str = "</td></table><script>alert(1)</script><img src=x onerror=\"alert('2')\">&lt;";
    let car = car();
    let folder = car.path();
    drive(folder);
    let dbc = std::fs::read_to_string(folder.join("car.dbc")).unwrap().replace(
        "\"km/h\" ECU\n",
        "\"<b onclick='x'>\u{202e}\" ECU\n SG_ Gear : 16|8@1+ (1,0) [0|0] \"\" ECU\nVAL_ 291 Gear 0 \"</span><script>\" ;\n",
    );
    std::fs::write(folder.join("car.dbc"), dbc).unwrap();
    let mut request: Value = serde_json::from_slice(&std::fs::read(folder.join("r.json")).unwrap()).unwrap();
    request["purpose"]["text"][0]["text"] = EVIL.into();
    request["privacy_notice"]["uri"] = "https://x.example/\"><script>".into();
    request["incentive"] = EVIL.into();
    request["onward_disclosure"] = serde_json::json!([EVIL]);
    request["signals"].as_array_mut().unwrap().extend([
        serde_json::json!({"signal": "CAN.can0.Motion.Gear", "necessity": "required", "transforms": []}),
        serde_json::json!({"signal": "CAN.can0.Motion.Gear2", "necessity": "required",
            "transforms": [{"op": "nonesuch", "x": EVIL}]}),
    ]);
    std::fs::write(folder.join("r.json"), request.to_string()).unwrap();
    glovebox(folder, "policy sign r.json --type request --key acme.key -o r.dsse");
    let mut bundle: Value = serde_json::from_slice(&std::fs::read(folder.join("b.json")).unwrap()).unwrap();
    bundle["requests"][0] = serde_json::from_slice(&std::fs::read(folder.join("r.dsse")).unwrap()).unwrap();
    bundle["recipients"][0]["name"] = EVIL.into();
    bundle["recipients"][0]["contact"] = EVIL.into();
    bundle["catalogue"] = serde_json::json!([
        {"signal": "CAN.can0.Motion.Speed", "category": "driving"},
        {"signal": "CAN.can0.Motion.Gear", "category": "driving"},
    ]);
    std::fs::write(folder.join("evil.json"), bundle.to_string()).unwrap();
    let (code, words) = told(folder, &format!("preview --policy evil.json {FILES} --html page.html"));
    assert_eq!(code, Some(0), "{words}");
    assert!(!words.contains('\u{1b}'), "{words}");
    let page = std::fs::read_to_string(folder.join("page.html")).unwrap();
    is_strict(&page);
    for escaped in [
        "&lt;img src=x onerror=&quot;alert(&#39;2&#39;)&quot;&gt;&amp;lt;",
        "&lt;b onclick=&#39;x&#39;&gt;[U+202E]",
    ] {
        assert!(page.contains(escaped), "{escaped} is not in the page");
    }
    assert!(page.contains("&lt;/span&gt;&lt;script&gt; (0)"), "the name of a value is shown");
    assert!(page.matches("<svg").count() == 2, "two signals are drawn");
}

/// A drive of some kilometres of which only cells are told: the map has them, and under them the route.
#[test]
fn of_a_place_the_map_shows_the_cells_that_leave_and_the_route_that_stays() {
    let car = car();
    let folder = car.path();
    let dbc = "VERSION \"\"\n\nBS_:\n\nBU_: ECU\n\nBO_ 291 Position: 8 ECU\n \
               SG_ Latitude : 0|32@1- (0.0000001,0) [-90|90] \"degrees\" ECU\n \
               SG_ Longitude : 32|32@1- (0.0000001,0) [-180|180] \"degrees\" ECU\n";
    std::fs::write(folder.join("car.dbc"), dbc).unwrap();
    let mut log = String::new();
    for at in 0..300i32 {
        let _ = write!(log, "({}.0) can0 123#", 1_700_000_000 + at);
        for degrees in [481_000_000 + at * 2_000, 115_000_000 + at * 3_000] {
            log += &hex::encode_upper(degrees.to_le_bytes());
        }
        log.push('\n');
    }
    std::fs::write(folder.join("drive.log"), log).unwrap();
    let place = "CAN.can0.Position";
    glovebox(
        folder,
        &format!(
            "policy new request --recipient acme --purpose speed --signal {place}.Latitude:geo_cell=7:rate=10000 --signal \
             {place}.Longitude:geo_cell=7:rate=10000 -o r.json"
        ),
    );
    glovebox(folder, "policy sign r.json --type request --key acme.key -o r.dsse");
    glovebox(
        folder,
        "policy new bundle --device car-1 --recipient acme:Acme:DE:acme.pub:h.dsse --request r.dsse --category \
         location=CAN.can0.Position.* -o b.json",
    );
    let report = json(folder, &format!("preview --policy b.json {FILES} --html page.html"));
    let [latitude, longitude] = [0, 1].map(|at| &report["flows"][0]["signals"][at]);
    assert_eq!((&latitude["samples_in"], &latitude["samples_out"]), (&300.into(), &30.into()));
    assert_eq!(longitude["becomes"], format!("told as one with {place}.Latitude"));
    // `latlng_to_cell` of H3's own library for the beginning of the drive.
    let cells = latitude["cells"].as_array().unwrap();
    assert!(cells.iter().any(|cell| cell[0] == "871f8d45affffff"), "{cells:?}");
    assert_eq!(cells.iter().filter_map(|cell| cell[1].as_u64()).sum::<u64>(), 30);
    assert_eq!(latitude["range_out"], Value::Null, "no coordinate of it leaves");
    let page = std::fs::read_to_string(folder.join("page.html")).unwrap();
    is_strict(&page);
    // One for the legend.
    assert_eq!(page.matches("<path class=\"cell\"").count(), cells.len() + 1);
    assert_eq!(page.matches("<path class=\"came route\"").count(), 1);
    assert!(!page.contains("<path class=\"mark\" d=\"M"), "no point is on the map");
}

/// Hundreds of signals over hours: the page stays a page.
#[test]
fn a_long_log_of_many_signals_gives_a_small_page() {
    let car = car();
    let folder = car.path();
    let mut dbc = "VERSION \"\"\n\nBS_:\n\nBU_: ECU\n".to_owned();
    let mut signals = Vec::new();
    for message in 0..50 {
        let _ = write!(dbc, "\nBO_ {} M{message}: 8 ECU\n", 256 + message);
        for signal in 0..8 {
            let _ = writeln!(dbc, " SG_ S{signal} : {}|8@1+ (0.5,-40) [0|0] \"unit\" ECU", signal * 8);
            signals.push(format!("CAN.can0.M{message}.S{signal}"));
        }
    }
    std::fs::write(folder.join("car.dbc"), dbc).unwrap();
    let mut log = String::new();
    for at in 0u32..10_000 {
        let noise = at.wrapping_mul(2_654_435_761);
        let _ = writeln!(
            log,
            "({}.0) can0 {:03X}#{noise:08X}{:08X}",
            1_700_000_000 + at,
            256 + at % 50,
            noise.rotate_left(13)
        );
    }
    std::fs::write(folder.join("drive.log"), log).unwrap();
    let mut request: Value = serde_json::from_slice(&std::fs::read(folder.join("r.json")).unwrap()).unwrap();
    let asked = signals
        .iter()
        .map(|signal| serde_json::json!({"signal": signal, "necessity": "required", "transforms": []}));
    request["signals"] = asked.collect();
    std::fs::write(folder.join("r.json"), request.to_string()).unwrap();
    glovebox(folder, "policy sign r.json --type request --key acme.key -o r.dsse");
    glovebox(
        folder,
        "policy new bundle --device car-1 --recipient acme:Acme:DE:acme.pub:h.dsse --request r.dsse --category driving=CAN.* \
         -o b.json",
    );
    let report =
        json(folder, &format!("preview --policy b.json {FILES} --html page.html --samples all.jsonl"));
    assert_eq!(report["flows"][0]["samples_out"], 10_000 * 8);
    let lines = std::fs::read_to_string(folder.join("all.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 10_000 * 8);
    let page = std::fs::read_to_string(folder.join("page.html")).unwrap();
    assert!(page.len() <= 2 * 1024 * 1024, "{} bytes", page.len());
    let plots = page.matches("<svg").count();
    let left = format!(">{} plots more: narrow by --recipient and --signal.<", 400 - plots);
    assert!((150..400).contains(&plots) && page.contains(&left), "{plots} plots");
    is_strict(&page);
}

/// Of a derived signal what it is made of is read and none of it leaves.
#[test]
fn a_derived_signal_is_shown_beside_what_it_is_made_of() {
    let car = car();
    let folder = car.path();
    drive(folder);
    let map = r#"{"Vehicle": {"children": {"Acceleration": {"children": {"Longitudinal": {"unit": "m/s^2",
        "dbc2vss": {"signal": "Speed", "interval_ms": 0, "transform": {"math": "x / (-10)"}}}}}}}}"#;
    std::fs::write(folder.join("map.json"), map).unwrap();
    for line in [
        "policy new request --recipient acme --purpose score --signal Derived.IsBrakingHard:rate=1000 -o d.json",
        "policy sign d.json --type request --key acme.key -o d.dsse",
        "policy new bundle --device car-1 --recipient acme:Acme:DE:acme.pub:h.dsse --request d.dsse \
         --category driving=Vehicle.* --category driving=Derived.* -o derived.json",
    ] {
        glovebox(folder, line);
    }
    let line = format!("preview --policy derived.json {FILES} --map map.json --samples out.jsonl");
    let report = json(folder, &line);
    let signals = report["flows"][0]["signals"].as_array().unwrap().iter();
    let shown: BTreeMap<&str, [&Value; 3]> = signals
        .map(|it| (it["signal"].as_str().unwrap(), [&it["samples_in"], &it["samples_out"], &it["leaves"]]))
        .collect();
    let all = [&Value::from(600), &Value::from(60), &Value::from(true)];
    let none = [&Value::from(600), &Value::from(0), &Value::from(false)];
    assert_eq!(
        shown,
        BTreeMap::from([("Derived.IsBrakingHard", all), ("Vehicle.Acceleration.Longitudinal", none)])
    );
    // Beyond 3.4 m/s² after the 34th second.
    let samples = std::fs::read_to_string(folder.join("out.jsonl")).unwrap();
    let values: Vec<bool> =
        samples.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["value"] == true).collect();
    assert_eq!(values, (0..60).map(|second| second > 34).collect::<Vec<_>>());
}
