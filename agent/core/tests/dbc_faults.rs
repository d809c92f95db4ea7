//! Faulty DBC files: each gives an error or a notice with its line, costs only itself, and nothing is decoded wrong.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test may fail loudly"
)]

mod common;

use glovebox_core::decode::dbc::{Database, DbcError, strict};
use glovebox_core::limits::DBC_FILE_BYTES_MAX;
use proptest::prelude::*;

/// Reads a text in which one message `Good` with a signal `G` must survive.
fn read(text: &str) -> (Database, Vec<String>) {
    let (database, notices) = Database::parse(text.as_bytes(), "a.dbc").unwrap();
    (database, notices.iter().map(ToString::to_string).collect())
}

const GOOD: &str = "BO_ 1 Good: 8 X\n SG_ G : 0|8@1+ (1,0) [0|0] \"\" X\n";

/// `fault` follows the good message from line 3 on: the notice must begin with `place` and hold `words`, and these
/// signals be left in all.
fn check(fault: &str, place: &str, words: &str, signals: &[&str]) {
    let (database, notices) = read(&format!("{GOOD}{fault}\n"));
    let notice = notices.iter().find(|notice| notice.starts_with(place) && notice.contains(words));
    assert!(notice.is_some(), "{fault}\nwant {place} … {words}\ngot {notices:#?}");
    let left: Vec<String> = database
        .messages
        .iter()
        .flat_map(|message| message.signals.iter().map(|signal| format!("{}.{}", message.name, signal.name)))
        .collect();
    assert_eq!(left, signals, "{fault}\n{notices:#?}");
}

#[test]
fn faulty_messages_cost_themselves() {
    let one = &["Good.G"];
    check(
        "BO_ 2 : 8 X\n SG_ A : 0|8@1+ (1,0) [0|0] \"\" X",
        "a.dbc:3:7: the message is left out with its 1 signals",
        "it cannot be read from here on",
        one,
    );
    check("BO_ 2 M 8 X", "a.dbc:3:1:", "it cannot be read from here on", one);
    check("BO_ x M: 8 X", "a.dbc:3:5:", "it cannot be read from here on", one);
    check("BO_ 2 M: 8", "a.dbc:3:11:", "it cannot be read from here on", one);
    check("BO_ 4294967296 M: 8 X", "a.dbc:3:1:", "message id out of range", one);
    check("BO_ 536870912 M: 8 X", "a.dbc:3:1:", "more than 29 bits", one);
    check("BO_ 3758096385 M: 8 X", "a.dbc:3:1:", "more than 29 bits", one);
    check(
        "BO_ 1 Twin: 8 X\n SG_ T : 0|8@1+ (1,0) [0|0] \"\" X",
        "a.dbc:3:1:",
        "line 1 has the same identifier",
        one,
    );
    check(
        "BO_ 4096 M: 8 X\n SG_ A : 0|8@1+ (1,0) [0|0] \"\" X",
        "a.dbc:3:1:",
        "read as an extended one",
        &["Good.G", "M.A"],
    );
    check(
        "BO_ 1075054137 M: 8 X\n SG_ A : 0|8@1+ (1,0) [0|0] \"\" X",
        "a.dbc:3:1:",
        "bit 30 of the identifier is set",
        &["Good.G", "M.A"],
    );
    // Not cut to 16 bits, which would be message 1 again.
    check(
        "BO_ 65537 M: 8 X\n SG_ A : 0|8@1+ (1,0) [0|0] \"\" X",
        "a.dbc:3:1:",
        "read as an extended one",
        &["Good.G", "M.A"],
    );
    check(
        "B0_ 2 M: 8 X\n SG_ A : 0|8@1+ (1,0) [0|0] \"\" X",
        "a.dbc:4:2:",
        "does not follow its message",
        one,
    );
    check("B0_ 2 M: 8 X", "a.dbc:3:1:", "no statement of a DBC file begins so", one);
}

#[test]
fn faulty_signals_cost_themselves() {
    let signal = |rest: &str| format!("BO_ 2 M: 4 X\n SG_ A : {rest}\n SG_ B : 0|8@1+ (1,0) [0|0] \"\" X");
    let two = &["Good.G", "M.B"];
    for (rest, place, words) in [
        ("0|8@1+ (1,0) [0|0] \"\"", "a.dbc:4:", "it cannot be read from here on"),
        ("0|8@2+ (1,0) [0|0] \"\" X", "a.dbc:4:14:", "it cannot be read from here on"),
        ("0|8@1* (1,0) [0|0] \"\" X", "a.dbc:4:15:", "it cannot be read from here on"),
        ("0|8@1+ (1;0) [0|0] \"\" X", "a.dbc:4:15:", "it cannot be read from here on"),
        ("0|8@1+ (a,0) [0|0] \"\" X", "a.dbc:4:18:", "it cannot be read from here on"),
        ("-1|8@1+ (1,0) [0|0] \"\" X", "a.dbc:4:2:", "uint"),
        ("0|0@1+ (1,0) [0|0] \"\" X", "a.dbc:4:2:", "it has 0 bits"),
        ("0|65@1+ (1,0) [0|0] \"\" X", "a.dbc:4:2:", "it has 65 bits"),
        ("25|8@1+ (1,0) [0|0] \"\" X", "a.dbc:4:2:", "byte 5 of a frame of 4 bytes"),
        ("24|16@0+ (1,0) [0|0] \"\" X", "a.dbc:4:2:", "byte 6 of a frame of 4 bytes"),
        ("70000|8@1+ (1,0) [0|0] \"\" X", "a.dbc:4:2:", "begins at bit 70000"),
        ("0|8@1+ (1e999,0) [0|0] \"\" X", "a.dbc:4:2:", "not a finite number"),
        (
            "0|8@1+ (1,0) [0|0] \"\" X // fine\n SG_ B : 0|8@1+ (1,0) [0|0] \"\" X",
            "a.dbc:6:2:",
            "line 5 of the same message has the same name",
        ),
    ] {
        let want: &[&str] = if rest.contains("fine") { &["Good.G", "M.A", "M.B"] } else { two };
        check(&signal(rest), place, words, want);
    }
    check(
        " SG_ A : 0|8@1+ (1,0) [0|0] \"\" X\n SG_ G : 0|8@1+ (1,0) [0|0] \"\" X",
        "a.dbc:4:2:",
        "line 2 of the same message",
        &["Good.G", "Good.A"],
    );
    check(
        " SG_ A : 4|8@1+ (1,0) [0|0] \"\" X",
        "a.dbc:3:1:",
        "shares bits with that of line 2",
        &["Good.G", "Good.A"],
    );
    check(
        "BO_ 2 M: 8 X\n SG_ A : 0|16@1+ (1,0) [0|0] \"\" X\nSIG_VALTYPE_ 2 A : 1;",
        "a.dbc:4:2:",
        "another float",
        &["Good.G"],
    );
}

#[test]
fn unclear_multiplexing_is_left_out() {
    let message = |signals: &[&str], more: &str| {
        let signals: Vec<String> =
            signals.iter().map(|head| format!(" SG_ {head} : 0|8@1+ (1,0) [0|0] \"\" X")).collect();
        format!("BO_ 2 M: 4 X\n{}\n{more}", signals.join("\n"))
    };
    check(&message(&["A m1"], ""), "a.dbc:4:2:", "the message has no multiplexor", &["Good.G"]);
    check(&message(&["A M", "B M", "C m1"], ""), "a.dbc:6:2:", "two multiplexors", &["Good.G", "M.A", "M.B"]);
    check(&message(&["A m1x", "B"], ""), "a.dbc:4:", "it cannot be read from here on", &["Good.G", "M.B"]);
    check(&message(&["A M", "B m"], ""), "a.dbc:5:2:", "no value is given", &["Good.G", "M.A"]);
    check(
        &message(&["A M", "B m1"], "SG_MUL_VAL_ 2 B Z 1-1;"),
        "a.dbc:5:2:",
        "names a multiplexor that the message does not have",
        &["Good.G", "M.A"],
    );
    check(
        &message(&["A M", "B m1"], "SG_MUL_VAL_ 2 B A 3-1;"),
        "a.dbc:5:2:",
        "the first is larger",
        &["Good.G", "M.A"],
    );
    check(
        &message(&["A M", "B m1M", "C m1"], "SG_MUL_VAL_ 2 C A 1-1;\nSG_MUL_VAL_ 2 C B 1-1;"),
        "a.dbc:6:2:",
        "under two multiplexors",
        &["Good.G", "M.A", "M.B"],
    );
    check(
        &message(&["A m1M", "B m1M"], "SG_MUL_VAL_ 2 A B 1-1;\nSG_MUL_VAL_ 2 B A 1-1;"),
        "a.dbc:4:2:",
        "in a circle",
        &["Good.G"],
    );
    check(
        &message(&["A M", "B m1"], "SG_MUL_VAL_ 2 B G 1-1;"),
        "a.dbc:5:2:",
        "names a multiplexor that the message does not have",
        &["Good.G", "M.A"],
    );
}

#[test]
fn other_faulty_statements_cost_themselves() {
    let one = &["Good.G"];
    check(
        "VAL_ 1 G 0 zero ;",
        "a.dbc:3:12: the statement is left out",
        "it cannot be read from here on",
        one,
    );
    check("VAL_ 1 G 99999999999999999999 \"x\" ;", "a.dbc:3:1:", "int", one);
    check("VAL_ 7 G 0 \"zero\" ;", "a.dbc:3:1:", "its message has no such signal", one);
    check("SIG_VALTYPE_ 1 H : 1;", "a.dbc:3:1:", "its message has no such signal", one);
    check("SIG_VALTYPE_ 1 G : 5;", "a.dbc:3:20:", "it cannot be read from here on", one);
    check("SG_MUL_VAL_ 1 G M 1;", "a.dbc:3:", "it cannot be read from here on", one);
    check(
        "CM_ BO_ 1 \"no end;\nBO_ 2 M: 8 X\n SG_ A : 0|8@1+ (1,0) [0|0] \"\" X",
        "a.dbc:3:11:",
        "string is never closed",
        &["Good.G", "M.A"],
    );
}

#[test]
fn what_is_not_needed_is_not_read() {
    for text in
        ["CM_ anything goes ;", "BA_DEF_ nonsense ;", "BA_ \"Other\" what ;", "EV_ x;", "VAL_TABLE_ ;"]
    {
        let (_, notices) = read(&format!("{GOOD}{text}\n"));
        assert_eq!(notices, Vec::<String>::new(), "{text}");
    }
    let (database, notices) = read(&format!(
        "BO_ 3221225472 VECTOR__INDEPENDENT_SIG_MSG: 0 X\n SG_ A : 0|8@1+ (1,0) [0|0] \"\" X\n{GOOD}"
    ));
    assert_eq!((database.messages.len(), notices), (1, Vec::new()));
}

#[test]
fn files_that_cannot_be_used() {
    let error = |bytes: &[u8]| Database::parse(bytes, "a.dbc").unwrap_err();
    assert!(matches!(error(&vec![b' '; DBC_FILE_BYTES_MAX + 1]), DbcError::TooLarge { .. }));
    assert!(matches!(error(b""), DbcError::Empty { .. }));
    assert!(matches!(error(b"VERSION \"\"\nBU_: X\n"), DbcError::Empty { .. }));
    let at = |bytes: &[u8]| error(bytes).to_string();
    assert!(at(b"BO_ 1 M: 8 X\nab\0c").starts_with("a.dbc:2:3: this is not text (a zero byte)"));
    assert!(at(&[0xFF, 0xFE, b'B', 0]).starts_with("a.dbc:1:1: this is not text (UTF-16)"));
    assert!(
        at(b"BO_ 1 M: 8 X\nCM_ \"no end")
            .starts_with("a.dbc:2:5: the string that begins here is never closed")
    );
    let nothing = at(b"\nBO_ 1 M\n SG_ A\n");
    assert!(
        nothing.starts_with("a.dbc:2:1: no message of the file can be used, the first because"),
        "{nothing}"
    );
}

#[test]
fn texts_of_every_coding_are_read() {
    let text = GOOD.replace("\"\"", "\"°C\"");
    let utf8 = Database::parse(text.as_bytes(), "a").unwrap().0;
    let mark = Database::parse(&[&[0xEF, 0xBB, 0xBF], text.as_bytes()].concat(), "a").unwrap().0;
    let latin: Vec<u8> = text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
    let latin = Database::parse(&latin, "a").unwrap().0;
    let windows = Database::parse(text.replace('\n', "\r\n").as_bytes(), "a").unwrap().0;
    let old = Database::parse(text.replace('\n', "\r").as_bytes(), "a").unwrap().0;
    assert_eq!(utf8.messages[0].signals[0].unit, "°C");
    for other in [mark, latin, windows, old] {
        assert_eq!(other, utf8);
    }
}

#[test]
fn a_file_of_faults_gives_a_bounded_list() {
    let text = format!("{GOOD}{}", "VAL_ 7 G 0 \"zero\" ;\nnonsense\n".repeat(3_000));
    let (_, notices) = read(&text);
    assert_eq!(notices.len(), 1_001);
    assert!(notices[1_000].starts_with("a.dbc: "), "{}", notices[1_000]);
}

/// Every file of the shared data is read, and notices come with lines.
#[test]
fn real_files_are_read() {
    let Some(root) = common::shared() else { return };
    let (mut files, mut empty, mut told, mut signals) = (0, 0, 0, 0);
    for folder in ["data/dbc", "data/dbc_lenient", "data/bench"] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "dbc") {
                continue;
            }
            match Database::parse(&std::fs::read(&path).unwrap(), "a.dbc") {
                Ok((database, notices)) => {
                    assert!(notices.iter().all(|notice| notice.line > 0), "{}", path.display());
                    signals += database.messages.iter().map(|message| message.signals.len()).sum::<usize>();
                    told += notices.len();
                    files += 1;
                }
                // Two of them have no message of their own.
                Err(DbcError::Empty { .. } | DbcError::NothingLoads { line: 1, .. }) => empty += 1,
                Err(error) => panic!("{}: {error}", path.display()),
            }
        }
    }
    eprintln!("{files} files, {signals} signals, {told} notices");
    assert!(files >= 110);
    assert_eq!(empty, 2);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_it_panic(text in "((BO_|SG_|VAL_|CM_|NS_|BU_|SG_MUL_VAL_|SIG_VALTYPE_|[a-z0-9 :;|@+\"\\\\/\r\n\t(),-]{0,12}) ?){0,40}") {
        let _ = Database::parse(text.as_bytes(), "a.dbc");
    }

    #[test]
    fn no_cut_and_no_changed_byte_makes_it_panic(cut in 0usize..2_000, at in 0usize..2_000, byte in any::<u8>()) {
        let text = format!("{GOOD}BO_ 2 M: 8 X\n SG_ A M : 0|4@1+ (1,0) [0|15] \"\" X\n SG_ B m1 : 7|8@0- (0.5,-1) [0|0] \"°C\" X,Y\nVAL_ 2 A 1 \"one\" 2 \"two\" ;\nSG_MUL_VAL_ 2 B A 1-1, 3-4;\nSIG_VALTYPE_ 2 B : 0;\n");
        let mut bytes = text.into_bytes();
        bytes.truncate(cut);
        if let Some(place) = bytes.get_mut(at) {
            *place = byte;
        }
        let _ = Database::parse(&bytes, "a.dbc");
    }
}

#[test]
fn strict_takes_no_file_that_would_lose_something() {
    let refused = |fault: &str| {
        let (_, notices) = Database::parse(format!("{GOOD}{fault}").as_bytes(), "a.dbc").unwrap();
        strict(&notices).map_err(|error| error.to_string())
    };
    assert_eq!(refused(""), Ok(()));
    let one = refused("VAL_ 1 H 0 \"a\" ;\n").unwrap_err();
    assert!(one.starts_with("a.dbc:3:1: the statement is left out"), "{one}");
    assert!(one.ends_with("; mend the file, or read it without `strict`"), "{one}");
    let missing = refused("CM_ SG_ 1 G \"two\nlines\"\nVAL_ 1 G 0 \"a\" ; // fine\n").unwrap_err();
    assert!(missing.starts_with("a.dbc:4:7: a `;` is missing here"), "{missing}");
    let two = refused(" SG_ A : 0|65@1+ (1,0) [0|0] \"\" X\nBO_ 4096 M: 8 X\n").unwrap_err();
    assert!(two.starts_with("a.dbc:3:2: the signal is left out: it has 65 bits"), "{two}");
    assert!(two.contains("(and 1 more)"), "{two}");
}

#[test]
fn what_people_look_at_is_read_where_it_is_asked_for() {
    let text = r#"
BO_ 1 Good: 8 Ecu
 SG_ G : 0|8@1+ (0.5,-10) [0|0] "" Dash,Vector__XXX
BO_ 2 Plain: 8 Vector__XXX
CM_ BO_ 1 "The \"good\" one,
on two lines";
CM_ SG_ 1 G "A signal";
BA_DEF_ BO_ "GenMsgCycleTime" INT 0 65535;
BA_DEF_ SG_ "GenSigStartValue" FLOAT 0 100;
BA_DEF_ BO_ "VFrameFormat" ENUM "StandardCAN","ExtendedCAN","StandardCAN_FD";
BA_DEF_DEF_ "GenMsgCycleTime" 0;
BA_DEF_DEF_ "VFrameFormat" "StandardCAN";
BA_ "GenMsgCycleTime" BO_ 1 100;
BA_ "GenSigStartValue" SG_ 1 G 30;
BA_ "VFrameFormat" BO_ 2 2;
"#;
    let (database, notices) = Database::describe(text.as_bytes(), "a.dbc").unwrap();
    assert_eq!(notices, []);
    let [good, plain] = &database.messages[..] else { panic!("two messages") };
    assert_eq!(good.comment, "The \"good\" one,\non two lines");
    assert_eq!((good.sender.as_str(), good.cycle_time_ms, good.fd), ("Ecu", Some(100), false));
    let signal = &good.signals[0];
    assert_eq!((signal.comment.as_str(), signal.start_value), ("A signal", Some(5.0)));
    assert_eq!(signal.receivers, ["Dash"]);
    assert_eq!((plain.sender.as_str(), plain.cycle_time_ms, plain.fd), ("", None, true));
    let (lean, _) = Database::parse(text.as_bytes(), "a.dbc").unwrap();
    assert_eq!((lean.messages[0].comment.as_str(), lean.messages[0].cycle_time_ms), ("", None));
}
