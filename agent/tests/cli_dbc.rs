//! `glovebox dbc`: what people and scripts are told about DBC files.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test may fail loudly and tells when it is skipped"
)]

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Exit code, standard output and standard error.
fn glovebox(arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_glovebox"));
    let output = command.args(arguments).env_remove("GLOVEBOX_LOG").output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

const DBC: &str = r#"VERSION ""
BS_:
BU_: ECU DASH BODY
BO_ 291 Motion: 8 ECU
 SG_ Speed : 0|16@1+ (0.01,-5) [0|300] "km/h" DASH,BODY
 SG_ Gear : 16|3@1+ (1,0) [0|0] "" Vector__XXX
BO_ 2566844672 Long: 64 DASH
 SG_ Mode : 7|8@0+ (1,0) [0|0] "" ECU
 SG_ Other m0 : 8|8@1- (1,0) [0|0] "" ECU
 SG_ Page m1M : 8|8@1+ (1,0) [0|0] "" ECU
 SG_ Ratio m2 : 480|32@1- (1,0) [0|0] "" ECU
CM_ BO_ 291 "How it moves.
Second line";
CM_ SG_ 291 Gear "What is engaged";
BA_DEF_ BO_ "GenMsgCycleTime" INT 0 65535;
BA_DEF_DEF_ "GenMsgCycleTime" 0;
BA_ "GenMsgCycleTime" BO_ 291 20;
VAL_ 291 Gear 0 "P" 1 "D" ;
SIG_VALTYPE_ 2566844672 Ratio : 1;
"#;

/// What the multiplexing of `Long` says, with a multiplexor below another that lies where another signal does.
const MULTIPLEXED: &str = r#"BO_ 2 Deep: 8 ECU
 SG_ Mode M : 0|8@1+ (1,0) [0|0] "" ECU
 SG_ Other m0 : 8|8@1+ (1,0) [0|0] "" ECU
 SG_ Page m1M : 8|8@1+ (1,0) [0|0] "" ECU
 SG_ Below m3 : 16|8@1+ (1,0) [0|0] "" ECU
SG_MUL_VAL_ 2 Below Page 3-3, 7-9;
SG_MUL_VAL_ 2 Page Mode 1-1;
SG_MUL_VAL_ 2 Other Mode 0-0;
"#;

fn file(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn lint_tells_what_there_is_and_what_was_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let plain = DBC.replace(" m0 ", " ").replace(" m1M ", " ").replace(" m2 ", " ");
    let fine = file(folder.path(), "fine.dbc", &plain.replace("8|8@1+", "16|8@1+"));
    let (code, out, err) = glovebox(&["dbc", "lint", &fine]);
    let want = format!(
        "{fine}: 2 messages, 6 signals\n  messages     1 of 11 bits, 1 of 29 bits, 1 CAN FD\n  byte order   5 Intel, 1 Motorola\n  \
         numbers      4 unsigned, 1 signed, 1 float\n  described    1 value tables, 2 comments, 1 cycle times\n  \
         nodes        BODY DASH ECU\nnothing is left out or mended\n"
    );
    assert_eq!((code, out, err.as_str()), (Some(0), want, ""));
    let deep = file(folder.path(), "deep.dbc", MULTIPLEXED);
    let (code, out, _) = glovebox(&["dbc", "lint", &deep]);
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("\n  multiplexed  1 messages, 3 signals, 1 below several multiplexors\n"), "{out}");
}

#[test]
fn lint_tells_findings_by_its_exit_code_and_with_their_places() {
    let folder = tempfile::tempdir().unwrap();
    let fine = file(folder.path(), "fine.dbc", MULTIPLEXED);
    let bad = file(folder.path(), "bad.dbc", &MULTIPLEXED.replace("m3 : 16|8", "m3 : 60|8"));
    let broken = file(folder.path(), "broken.dbc", "no database\n");
    let (code, out, _) = glovebox(&["dbc", "lint", &fine, &bad]);
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains(&format!("\n{bad}:5:2: the signal is left out: ")), "{out}");
    assert!(out.ends_with("finding\n") || out.ends_with("findings\n"), "{out}");
    let (code, out, _) = glovebox(&["dbc", "lint", &broken, &fine, "/absent.dbc"]);
    assert_eq!(code, Some(2), "{out}");
    assert!(out.starts_with(&format!("{broken}:1:1: no message")), "{out}");
    assert!(out.contains("\n/absent.dbc: cannot open the file"), "{out}");
    let (code, out, _) = glovebox(&["dbc", "lint", "--strict", &bad]);
    assert_eq!(code, Some(2), "{out}");
    assert!(out.starts_with(&format!("{bad}:5:2: the signal is left out: ")), "{out}");
    assert_eq!(glovebox(&["dbc", "lint", "--strict", &fine]).0, Some(0));
    let (code, out, _) = glovebox(&["dbc", "lint", "--json", &fine, &bad, &broken]);
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(code, Some(2));
    let files = report["files"].as_array().unwrap();
    let usable: Vec<_> = files.iter().map(|file| file["usable"].as_bool().unwrap()).collect();
    assert_eq!(usable, [true, true, false]);
    assert_eq!((&files[0]["has"]["signals"], &files[0]["findings"]), (&json!(4), &json!([])));
    assert_eq!(
        (&files[1]["findings"][0]["line"], &files[1]["findings"][0]["column"]),
        (&json!(5), &json!(2))
    );
    assert!(files[2]["error"].as_str().unwrap().contains("no message"), "{out}");
}

#[test]
fn show_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let dbc = file(folder.path(), "a.dbc", DBC);
    let want = "\
Motion  0x123 (291), 8 bytes, from ECU, each 20 ms
  How it moves.
  Second line
  signal  bits  order  type      scale  offset  range   unit  to
  Speed   0|16  Intel  unsigned  0.01   -5      0..300  km/h  DASH,BODY
  Gear    16|3  Intel  unsigned  1      0
    What is engaged
    0 = P, 1 = D
";
    for wanted in ["Motion", "Mo*", "291", "0x123"] {
        let (code, out, _) = glovebox(&["dbc", "show", &dbc, wanted]);
        assert_eq!((code, out.as_str()), (Some(0), want), "{wanted}");
    }
    let (code, out, err) = glovebox(&["dbc", "show", &dbc, "Nothing*", "5"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains("no message matches `Nothing* 5`"), "{err}");
    assert_eq!(glovebox(&["dbc", "show", "/absent.dbc"]).0, Some(2));
}

/// Two signals lie at the same place, and only one of them is the multiplexor.
#[test]
fn show_names_the_right_multiplexor() {
    let folder = tempfile::tempdir().unwrap();
    let dbc = file(folder.path(), "a.dbc", MULTIPLEXED);
    let (_, out, _) = glovebox(&["dbc", "show", "--signals", &dbc]);
    let want = "\
0x002  Deep.Mode   0|8   Intel  unsigned  1  0  selects               ECU
0x002  Deep.Other  8|8   Intel  unsigned  1  0  Mode=0                ECU
0x002  Deep.Page   8|8   Intel  unsigned  1  0  selects Mode=1        ECU
0x002  Deep.Below  16|8  Intel  unsigned  1  0  Mode=1 Page=3,7..9    ECU
";
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(&out), words(want), "{out}");
}

#[test]
fn show_as_json() {
    let folder = tempfile::tempdir().unwrap();
    let dbc = file(folder.path(), "a.dbc", &(DBC.to_owned() + MULTIPLEXED));
    let (code, out, _) = glovebox(&["dbc", "show", "--json", &dbc, "Motion", "Deep"]);
    assert_eq!(code, Some(0));
    let shown: Value = serde_json::from_str(&out).unwrap();
    let gear = json!({
        "name": "Gear", "start": 16, "length": 3, "order": "little_endian", "type": "unsigned", "scale": 1.0,
        "offset": 0.0, "comment": "What is engaged", "line": 6,
        "values": [{ "value": 0, "name": "P" }, { "value": 1, "name": "D" }],
    });
    let motion = &shown["messages"][0];
    assert_eq!(
        (&motion["signals"][1], &motion["cycle_time_ms"], &motion["id"]),
        (&gear, &json!(20), &json!(291))
    );
    assert_eq!((&motion["signals"][0]["maximum"], motion.get("extended")), (&json!(300.0), None));
    let below = &shown["messages"][1]["signals"][3]["when"];
    let want = json!([
        { "multiplexor": "Mode", "ranges": [[1, 1]] },
        { "multiplexor": "Page", "ranges": [[3, 3], [7, 9]] },
    ]);
    assert_eq!(below, &want);
}

/// Text of a file cannot move a terminal's cursor.
#[test]
fn control_characters_of_a_file_do_not_reach_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let evil = DBC.replace("km/h", "km\u{1b}[2J").replace("What is", "\u{1b}]0;title\u{7}");
    let dbc = file(folder.path(), "a.dbc", &evil);
    for arguments in [&["dbc", "show", &dbc][..], &["dbc", "show", "--signals", &dbc], &["dbc", "lint", &dbc]]
    {
        let (_, out, err) = glovebox(arguments);
        assert!(!out.contains('\u{1b}') && !err.contains('\u{1b}'), "{arguments:?}: {out:?}");
    }
}

/// Folder of the shared data; tells and skips when it is absent, fails on a build machine.
fn shared() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let root = std::env::var_os("GLOVEBOX_SHARED").map_or_else(beside, PathBuf::from);
    if root.join("data").is_dir() {
        return Some(root);
    }
    assert!(std::env::var_os("CI").is_none(), "no test data at {}; set GLOVEBOX_SHARED", root.display());
    eprintln!("skipped: no test data at {}; set GLOVEBOX_SHARED", root.display());
    None
}

/// Files that cantools reads without complaint, and of which nothing is left out here, have the same in them.
#[test]
fn what_real_files_have_is_what_cantools_counts() {
    let Some(root) = shared() else { return };
    let data = root.join("data");
    let features = std::fs::read(data.join("oracle/decode_oracle_features.json")).unwrap();
    let features: Value = serde_json::from_slice(&features).unwrap();
    let strict = features["per_dbc"].as_object().unwrap().iter().filter(|(_, one)| one["load"] == "strict");
    let paths: Vec<(String, &Value)> = strict
        .map(|(name, one)| (data.join("dbc").join(name), &one["features"]))
        .filter(|(path, _)| path.is_file())
        .map(|(path, one)| (path.to_str().unwrap().to_owned(), one))
        .collect();
    let arguments: Vec<&str> =
        ["dbc", "lint", "--json"].into_iter().chain(paths.iter().map(|(path, _)| path.as_str())).collect();
    let (_, out, _) = glovebox(&arguments);
    let report: Value = serde_json::from_str(&out).unwrap();
    let mut compared = 0;
    for (file, (path, want)) in report["files"].as_array().unwrap().iter().zip(&paths) {
        assert_eq!(file["file"], path.as_str());
        if file["usable"] == false || file["findings"] != json!([]) {
            continue;
        }
        compared += 1;
        let has = &file["has"];
        for (ours, theirs) in [
            ("messages", "messages"),
            ("signals", "signals"),
            ("multiplexed_messages", "multiplexed_messages"),
            ("motorola_signals", "motorola_signals"),
            ("float_signals", "float_signals"),
            ("extended_messages", "extended_id_messages"),
            ("j1939_messages", "j1939_messages"),
            ("value_tables", "value_tables"),
        ] {
            assert_eq!(has[ours], want[theirs], "{path}: {ours}");
        }
    }
    eprintln!("{compared} of {} files compared", paths.len());
    assert!(compared >= 50, "{compared}");
}

/// The number in a log, of any sender, and the group's; and how a long name is written in a path.
#[test]
fn show_finds_groups_of_j1939_and_tells_names_in_paths() {
    let folder = tempfile::tempdir().unwrap();
    let text = "BO_ 2364540158 EEC1: 8 X\n SG_ Torque : 0|8@1+ (1,0) [0|0] \"%\" X\n\
                BA_ \"SystemSignalLongSymbol\" SG_ 2364540158 Torque \"Engine - Torque\";\n\
                BA_ \"ProtocolType\" \"J1939\";\n";
    let dbc = file(folder.path(), "truck.dbc", text);
    for wanted in ["EEC1", "0x0CF00400", "0x18F00455", "217056510", "61444", "0xF004"] {
        let (code, out, _) = glovebox(&["dbc", "show", &dbc, wanted]);
        assert_eq!(code, Some(0), "{wanted}");
        assert!(out.contains("in signal paths EEC1.Engine___Torque"), "{out}");
    }
    assert_eq!(glovebox(&["dbc", "show", &dbc, "0xF005"]).0, Some(1));
}

/// What nothing is decoded by is looked at too where a file has to be faultless.
#[test]
fn strict_refuses_what_only_people_look_at() {
    let folder = tempfile::tempdir().unwrap();
    let fine = "BO_ 1 M: 8 X\n SG_ S : 0|8@1+ (1,0) [0|0] \"\" X\n";
    for (fault, place) in [
        ("CM_ SG_ 1 \"no name\";\n", ":3:1: the comment names neither signal nor message"),
        ("CM_ SG_ 1 S \"no end\"\n", ":3:21: a `;` is missing here"),
    ] {
        let dbc = file(folder.path(), "a.dbc", &format!("{fine}{fault}"));
        let log = file(folder.path(), "a.log", "(1.0) can0 001#00\n");
        assert_eq!(glovebox(&["decode", "--dbc", &dbc, &log]).0, Some(0));
        let (code, _, said) = glovebox(&["decode", "--strict", "--dbc", &dbc, &log]);
        assert!(code == Some(2) && said.contains(place), "{code:?} {said}");
        let (code, said, _) = glovebox(&["dbc", "lint", &dbc]);
        assert!(code == Some(1) && said.contains(place), "{code:?} {said}");
    }
}

/// A pipe that goes on is shown as far as it came.
#[test]
fn decode_of_a_pipe_does_not_hold_lines_back() {
    use std::io::{BufRead as _, BufReader, Write as _};
    let folder = tempfile::tempdir().unwrap();
    let dbc = file(folder.path(), "a.dbc", "BO_ 1 M: 8 X\n SG_ S : 0|8@1+ (1,0) [0|0] \"\" X\n");
    let mut child = Command::new(env!("CARGO_BIN_EXE_glovebox"))
        .args(["decode", "--dbc", &dbc, "--format", "jsonl", "-"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let (mut to, mut from) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
    for value in 0..3 {
        writeln!(to, "({value}.0) can0 001#{value:02X}").unwrap();
        let mut line = String::new();
        from.read_line(&mut line).unwrap();
        assert!(line.contains(&format!("\"value\":{value},")), "{line}");
    }
    drop(to);
    assert!(child.wait().unwrap().success());
}
