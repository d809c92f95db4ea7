//! Grant, withdraw, restart: with real keys and stores, through the commands.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use super::{Change, LocalAuthority, glob_matches};
use crate::cli::trial::{NOT_IN_THE_CAR, Trial};
use crate::control::{
    Asked, Authority as _, DraftOrder, Handler, Request, WithdrawOrder, answer, listen, serve,
};
use crate::notice_store::NoticeStore;
use crate::policy_store::Documents as _;
use crate::sealer::StrictVerifier;
use glovebox_core::names::{FlowId, PurposeId, RecipientId, WallTime};
use glovebox_core::seal::Sealer as _;
use std::fs;
use std::sync::{Arc, Mutex};

const GRANT: &str = "consent grant --yes --recipient tyres --purpose tyre-care --key @owner.key";

fn order(signals: &[&str]) -> DraftOrder {
    DraftOrder {
        recipient: RecipientId::new("tyres").unwrap(),
        purpose: PurposeId::new("tyre-care").unwrap(),
        signals: signals.iter().map(|&signal| signal.to_owned()).collect(),
        until: None,
        waive_floor: false,
        max_bytes_per_day: None,
    }
}

fn all_of_tyres(erase: bool) -> WithdrawOrder {
    WithdrawOrder { recipient: RecipientId::new("tyres").unwrap(), purpose: None, erase }
}

#[test]
fn a_car_that_is_not_provisioned_takes_nothing_and_says_so() {
    let trial = Trial::new();
    trial.keys_and_statements();
    trial.bundle(1, "");
    let error = trial.fails("policy install @bundle.dsse");
    assert!(
        error.contains("bundle.dsse is not installed") && error.contains("glovebox provision"),
        "{error}"
    );
    assert!(trial.fails(GRANT).contains("install a policy bundle first"));
    trial.run("consent list").unwrap();
}

#[test]
fn a_second_provision_by_command_is_refused_with_the_reason() {
    let trial = Trial::provisioned();
    let error = trial.fails("provision --authority @root.pub --owner @tyres.pub");
    assert!(error.contains("nothing has changed: owner") && error.contains("`glovebox erase`"), "{error}");
}

#[test]
fn what_the_owner_grants_is_live_after_a_restart_and_ends_for_good() {
    let trial = Trial::provisioned();
    trial.run("policy install @bundle.dsse").unwrap();
    trial.run(GRANT).unwrap();
    trial.run("consent list").unwrap();
    trial.run("consent list --json").unwrap();

    let mut local = trial.local();
    let listed = local.list().unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].state.as_str(), listed[0].live), ("given", true), "live at once");
    assert_eq!(listed[0].signals, ["Vehicle.Speed", "CAN.can0.ENGINE.RPM"], "without {NOT_IN_THE_CAR}");
    let flow = local.control().grants().live()[0].flow();
    assert!(local.complaints().is_empty() && local.take_changes().is_empty());
    let ended = local.withdraw(&all_of_tyres(false)).unwrap();
    assert_eq!(ended[0].flow, flow);
    assert_eq!(local.take_changes(), [Change::Ended(flow)]);
    assert!(local.control().grants().live().is_empty());
    drop(local);

    assert!(trial.state().join(format!("tombstones/{flow}")).exists());
    let mut local = trial.local();
    assert!(local.control().grants().live().is_empty() && local.complaints().is_empty());
    let states: Vec<String> = local.list().unwrap().into_iter().map(|consent| consent.state).collect();
    assert_eq!(states, ["given", "withdrawn"]);
    drop(local);
    assert!(trial.fails("consent withdraw --recipient tyres").contains("nothing is granted to tyres"));

    trial.run(GRANT).unwrap();
    let local = trial.local();
    assert_ne!(local.control().grants().live()[0].flow(), flow, "a grant after a withdrawal is a new flow");
}

#[test]
fn who_renews_is_told_what_is_new_in_it_and_what_is_given_for_it() {
    let trial = Trial::provisioned();
    trial.run("policy install @bundle.dsse").unwrap();
    let words = trial.local().draft(&order(&[])).unwrap().words;
    assert!(!words.contains("in force now") && !words.contains("In return"), "{words}");
    trial.run(&format!("{GRANT} --signal CAN.* --days 3 --max-bytes-per-day 100000")).unwrap();
    let text = String::from_utf8(trial.read("request.json")).unwrap();
    let text = text
        .replace("\"version\": 1", "\"version\": 2")
        .replace("\"profiling\": false", "\"profiling\": true");
    let text = text.replace("\"incentive\": \"\"", "\"incentive\": \"Ten percent off.\"");
    fs::write(trial.path("request.json"), text).unwrap();
    trial.run("policy sign @request.json --type request --key @tyres.key -o @request.dsse").unwrap();
    trial.bundle(2, "");
    let mut local = trial.local();
    local.submit(&trial.read("bundle.dsse")).unwrap();
    let words = local.draft(&order(&[])).unwrap().words;
    for line in [
        "In return it offers: Ten percent off.",
        "What changes of what is in force now:",
        "More:",
        "  tyres for tyre-care, Vehicle.Speed: at most once in 1 s; rounded down to steps of 0.5 (was: not granted)",
        "  tyres for tyre-care: no limit a day (was: 100000 bytes)",
        "  tyres for tyre-care: profiling: now yes",
    ] {
        assert!(words.lines().any(|told| told == line), "{line:?} is not in\n{words}");
    }
    assert!(!words.contains("begins at") && !words.contains("state "), "what goes without saying: {words}");
}

/// What is in force is the meet of all: a later narrowing that names more gives nothing back.
#[test]
fn what_an_earlier_narrowing_took_away_is_new_in_a_renewal() {
    let trial = Trial::provisioned();
    trial.run("policy install @bundle.dsse").unwrap();
    trial.run(GRANT).unwrap();
    let mut local = trial.local();
    for signals in [&["CAN.*"][..], &[]] {
        let payload = local.draft(&order(signals)).unwrap().payload;
        let mut record: serde_json::Value = serde_json::from_slice(&payload).unwrap();
        record["events"][0]["event_state"] = "ConsentNarrowed".into();
        fs::write(trial.path("n.json"), record.to_string()).unwrap();
        trial.run("policy sign @n.json --type consent --key @owner.key -o @n.dsse").unwrap();
        local.submit(&trial.read("n.dsse")).unwrap();
    }
    let words = local.draft(&order(&[])).unwrap().words;
    let new = "tyres for tyre-care, Vehicle.Speed: at most once in 1 s; rounded down to steps of 0.5 (was: not granted)";
    assert!(words.contains(new), "{words}");
}

#[test]
fn a_grant_whose_request_was_replaced_says_what_it_waits_for() {
    let trial = Trial::provisioned();
    trial.run("policy install @bundle.dsse").unwrap();
    trial.run(GRANT).unwrap();
    let text = String::from_utf8(trial.read("request.json")).unwrap();
    fs::write(trial.path("request.json"), text.replace("\"version\": 1", "\"version\": 2")).unwrap();
    trial.run("policy sign @request.json --type request --key @tyres.key -o @request.dsse").unwrap();
    trial.bundle(2, "");
    let mut local = trial.local();
    let taken = local.submit(&trial.read("bundle.dsse")).unwrap();
    let command = "`glovebox consent grant --recipient tyres --purpose tyre-care`";
    let waits = "now waits: tyres for tyre-care: the policy does not hold the request that was granted; needs: the owner";
    assert!(taken.effect.contains(waits) && taken.effect.ends_with(command), "{}", taken.effect);
    let listed = local.list().unwrap();
    assert!(listed[0].live, "as far as records and dates say");
    assert!(listed[0].waits.as_ref().unwrap().remedy.ends_with(command));
    drop(local);
    trial.run(GRANT).unwrap();
    let listed = trial.local().list().unwrap();
    assert_eq!(listed[1].waits, None, "what it says helps");
}

#[test]
fn a_lone_coordinate_is_said_to_leave_nothing() {
    let trial = Trial::new();
    trial.keys_and_statements();
    let place =
        "--signal Vehicle.CurrentLocation.Latitude:geo_cell=7 --signal Vehicle.Speed:rate=1000:quantise=5";
    trial
        .run(&format!("policy new request --recipient tyres --purpose tyre-care {place} -o @request.json"))
        .unwrap();
    trial.run("policy sign @request.json --type request --key @tyres.key -o @request.dsse").unwrap();
    trial.bundle(1, "");
    trial.run("provision --authority @root.pub --owner @owner.pub").unwrap();
    trial.run("policy install @bundle.dsse").unwrap();
    let words = trial.local().draft(&order(&[])).unwrap().words;
    for line in [
        "May leave the car:\n  + Vehicle.Speed: at most once in 1 s; rounded down to steps of 5 km/h\n",
        "AGREED TO, BUT NOTHING OF IT LEAVES LIKE THIS:\n  ! Vehicle.CurrentLocation.Latitude: no point, ",
        "of a place only its cell may leave, and this signal makes none",
        "  kept for 30 days, in DE\n  legal ground: consent; law of DE\n",
    ] {
        assert!(words.contains(line), "{line:?} is not in\n{words}");
    }
    trial.run(GRANT).unwrap();
    let never = trial.local().list().unwrap().remove(0).never;
    assert_eq!(never.len(), 1);
    assert_eq!(never[0].signal, "Vehicle.CurrentLocation.Latitude");
}

#[test]
fn without_a_daemon_a_withdrawal_destroys_what_waits() {
    let trial = Trial::provisioned();
    trial.run("policy install @bundle.dsse").unwrap();
    trial.run(GRANT).unwrap();
    let flow = trial.local().control().grants().live()[0].flow();
    let queue = trial.state().join(format!("outbox/{flow}"));
    fs::create_dir_all(&queue).unwrap();
    fs::write(queue.join("keys"), [7; 64]).unwrap();
    fs::write(queue.join("0000000000000000.seg"), [7; 64]).unwrap();
    trial.run("consent withdraw --recipient tyres").unwrap();
    assert!(!queue.exists(), "keys, segments and folder");
}

#[test]
fn only_an_enrolled_owner_can_grant() {
    let trial = Trial::provisioned();
    trial.run("policy install @bundle.dsse").unwrap();
    for key in ["root", "signing", "tyres"] {
        let error = trial.fails(&GRANT.replace("owner.key", &format!("{key}.key")));
        assert!(error.contains("not taken") && error.contains("owner key"), "{error}");
    }
    // Nor the car's own record key, whoever gets hold of it.
    fs::copy(trial.state().join("keys/record.key"), trial.path("record.key")).unwrap();
    let error = trial.fails(&GRANT.replace("owner.key", "record.key"));
    assert!(error.contains("not taken"), "{error}");
    assert!(trial.local().list().unwrap().is_empty());
}

#[test]
fn a_grant_written_straight_into_the_store_counts_for_nothing() {
    let trial = Trial::provisioned();
    trial.run("policy install @bundle.dsse").unwrap();
    let payload = trial.local().draft(&order(&[])).unwrap().payload;
    fs::write(trial.path("record.json"), payload).unwrap();
    trial.run("policy sign @record.json --type consent --key @tyres.key -o @record.dsse").unwrap();
    let mut store = crate::policy_store::PolicyStore::open(&trial.state()).unwrap();
    store.put_record(&trial.read("record.dsse")).unwrap();
    drop(store);
    let local = trial.local();
    assert!(local.control().grants().live().is_empty());
    assert_eq!(local.complaints().len(), 1, "{:?}", local.complaints());
}

#[test]
fn the_owner_may_grant_less_than_is_asked_and_not_beyond_it() {
    let trial = Trial::provisioned();
    trial.run("policy install @bundle.dsse").unwrap();
    let mut local = trial.local();
    let words = local.draft(&order(&["CAN.*"])).unwrap().words;
    assert!(words.contains("+ CAN.can0.ENGINE.RPM: only when it changed by 10 or more"), "{words}");
    assert!(words.contains("- Vehicle.Speed"), "{words}");
    assert!(words.contains("Not decided, so it stays in the car:\n  - Vehicle.Service"), "{words}");
    assert!(local.draft(&order(&["Vehicle.Cabin.*"])).is_err());
    let past = DraftOrder { until: Some(WallTime(0)), ..order(&[]) };
    assert!(local.draft(&past).unwrap_err().to_string().contains("not after now"));
}

#[test]
fn bundles_only_rise_and_the_same_again_is_harmless() {
    let trial = Trial::provisioned();
    trial.bundle(2, "");
    trial.run("policy install @bundle.dsse").unwrap();
    trial.run("policy install @bundle.dsse").unwrap();
    trial.bundle(1, "");
    let error = trial.fails("policy install @bundle.dsse");
    assert!(error.contains("1 is below 2"), "{error}");
    let mut local = trial.local();
    assert_eq!(local.control().policy().unwrap().bundle().payload().version.0, 2);
    let mut document = trial.read("bundle.dsse");
    document[100] ^= 1;
    assert!(local.submit(&document).is_err());
    assert!(local.submit(b"hello").is_err());
    assert!(local.take_changes().is_empty());
}

#[test]
fn a_withdrawal_whose_record_cannot_be_stored_is_one_all_the_same() {
    let trial = Trial::provisioned();
    trial.run("policy install @bundle.dsse").unwrap();
    trial.run(GRANT).unwrap();
    let mut local = trial.local();
    let flow = local.control().grants().live()[0].flow();
    // No place for a tombstone: its name is taken by a folder with something in it.
    let tombstone = trial.state().join(format!("tombstones/{flow}"));
    fs::create_dir_all(tombstone.join("in the way")).unwrap();
    let error = local.withdraw(&all_of_tyres(true)).unwrap_err().to_string();
    let notices = NoticeStore::in_folder(&trial.state());
    assert_eq!(notices.flows().unwrap(), [], "not withdrawn for good: nobody is told");
    assert!(error.contains("stopped, but"), "{error}");
    assert!(local.control().grants().live().is_empty(), "dead in this process");
    assert!(local.take_changes().contains(&Change::Ended(flow)));
    fs::remove_dir_all(&tombstone).unwrap();
    local.keep_time().unwrap();
    assert!(tombstone.exists(), "tried again");
    assert_eq!(notices.flows().unwrap(), [flow], "and told");
    drop(local);
    assert!(trial.local().control().grants().live().is_empty());
}

#[test]
fn no_secret_stands_in_any_error() {
    let trial = Trial::provisioned();
    let secret = trial.read("owner.key");
    let body = String::from_utf8(secret).unwrap().lines().nth(1).unwrap().to_owned();
    for line in [
        "policy show @owner.key",
        "policy verify @owner.key --authority @root.pub",
        "policy install @owner.key",
        "policy sign @owner.key --type request --key @owner.key -o @x",
        "policy verify @bundle.dsse --authority @owner.key",
        "policy new hpke-key --recipient tyres --key @owner.key",
        "provision --authority @owner.key --owner @owner.pub",
        "consent grant --yes --recipient tyres --purpose tyre-care --key @request.json",
    ] {
        let error = trial.fails(line);
        assert!(!error.contains(&body[24..44]), "{line}: {error}");
    }
}

struct Daemon(Mutex<LocalAuthority>);

impl Handler for Daemon {
    fn handle(&self, request: Request) -> Result<serde_json::Value, String> {
        let answer = answer(&mut *self.0.lock().unwrap(), &request);
        answer.unwrap_or_else(|| Ok(serde_json::json!({}))).map_err(|error| error.to_string())
    }
}

#[test]
fn the_same_commands_work_through_a_running_daemon() {
    let trial = Trial::provisioned();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let socket = listen(&trial.path("control.sock")).unwrap();
    let guard = runtime.enter();
    let socket = tokio::net::UnixListener::from_std(socket).unwrap();
    drop(guard);
    let daemon = Arc::new(Daemon(Mutex::new(trial.local())));
    let handler: Arc<dyn Handler> = Arc::<Daemon>::clone(&daemon);
    runtime.spawn(serve(socket, handler));

    trial.run("policy install @bundle.dsse").unwrap();
    trial.run(GRANT).unwrap();
    trial.run("consent list").unwrap();
    let flow = daemon.0.lock().unwrap().control().grants().live()[0].flow();
    trial.run("consent withdraw --recipient tyres --purpose tyre-care").unwrap();
    let again = trial.fails("consent withdraw --recipient tyres");
    assert!(again.contains("nothing is granted to tyres"), "{again}");
    let changes = daemon.0.lock().unwrap().take_changes();
    assert_eq!(changes, [Change::Policy, Change::Widened(flow), Change::Ended(flow)]);

    // Without its socket the stores are sought, and they say who has them.
    fs::remove_file(trial.path("control.sock")).unwrap();
    let locked = trial.fails("consent list");
    assert!(locked.contains(&format!("in use by process {}", std::process::id())), "{locked}");
}

#[test]
fn stars_stand_for_anything() {
    for (glob, name, fits) in [
        ("Vehicle.Speed", "Vehicle.Speed", true),
        ("Vehicle.Speed", "Vehicle.SpeedLimit", false),
        ("*", "Vehicle.Speed", true),
        ("Vehicle.*", "Vehicle.Speed", true),
        ("Vehicle.*", "Vehicles", false),
        ("*.Speed", "Vehicle.Speed", true),
        ("V*.*eed", "Vehicle.Speed", true),
        ("V*ab*ab", "Vab", false),
        ("V*ab*ab", "Vabxab", true),
        ("", "", true),
        ("", "a", false),
        ("a**b", "ab", true),
    ] {
        assert_eq!(glob_matches(glob, name), fits, "{glob} {name}");
    }
}

#[test]
fn a_bundle_that_a_newer_one_took_the_place_of_is_told_from_other_refusals() {
    let trial = Trial::provisioned();
    fs::copy(trial.path("bundle.dsse"), trial.path("old.dsse")).unwrap();
    trial.bundle(2, "");
    let mut local = trial.local();
    local.submit(&trial.read("bundle.dsse")).unwrap();
    let old = local.submit(&trial.read("old.dsse"));
    assert!(matches!(old, Err(crate::control::AuthorityError::Superseded(_))), "{old:?}");
    let other = local.submit(b"{}");
    assert!(matches!(other, Err(crate::control::AuthorityError::Refused(_))), "{other:?}");
}

/// The one notice, as its recipient opens it.
fn opened(trial: &Trial, flow: FlowId) -> glovebox_recipient::open::Opened {
    let notice = NoticeStore::in_folder(&trial.state()).read(flow, &StrictVerifier).unwrap();
    let keys = vec![glovebox_recipient::HpkeKey::read(&trial.path("hpke.key")).unwrap()];
    let topic = glovebox_core::wire::batch_topic(&notice.recipient, notice.sealed.header());
    let opener = glovebox_recipient::Opener::new("tyres", keys).unwrap();
    opener.open(Some(&topic), notice.sealed.envelope()).unwrap()
}

#[test]
fn whoever_is_asked_to_erase_can_open_it_and_match_it_to_its_data() {
    let trial = Trial::provisioned();
    trial.run("policy install @bundle.dsse").unwrap();
    trial.run(GRANT).unwrap();
    let local = trial.local();
    let grant = &local.control().grants().live()[0];
    let (flow, request) = (grant.flow(), grant.given().payload().request_digest);
    let alias = local.sealer().unwrap().alias(&RecipientId::new("tyres").unwrap()).unwrap();
    drop(local);
    // Without a daemon, and without a network.
    trial.run("consent withdraw --recipient tyres --erase").unwrap();
    let opened = opened(&trial, flow);
    assert_eq!((opened.header.alias, opened.header.flow), (alias.0, flow.0));
    assert_eq!((opened.header.epoch, opened.header.sequence), (0, 1));
    let glovebox_recipient::open::Message::Notice(notice) = opened.message else { panic!("no notice") };
    let mut line = String::new();
    glovebox_recipient::lines::event(
        &mut line,
        &glovebox_recipient::Event::Notice(opened.header, notice.clone()),
    );
    assert!(line.contains("\"kind\":\"withdrawn\"") && notice.erasure_requested, "{line}");
    assert_eq!(notice.request_digest, request.0);
    // Another start, also one that finds it twice, changes nothing.
    drop(trial.local());
    assert_eq!(NoticeStore::in_folder(&trial.state()).flows().unwrap(), [flow]);
}

#[test]
fn a_notice_without_a_withdrawal_is_none_and_one_that_was_cut_off_is_made_up_for() {
    let trial = Trial::provisioned();
    trial.run("policy install @bundle.dsse").unwrap();
    trial.run(GRANT).unwrap();
    let flow = trial.local().control().grants().live()[0].flow();
    trial.run("consent withdraw --recipient tyres --erase").unwrap();
    let [asked, counts] =
        ["asked", "notice"].map(|state| trial.state().join(format!("notices/{flow}.{state}")));
    let notices = NoticeStore::in_folder(&trial.state());
    // Killed between tombstone and notice.
    fs::rename(&counts, &asked).unwrap();
    drop(trial.local());
    assert_eq!(notices.flows().unwrap(), [flow]);
    // Killed before the tombstone: the grant lives on, and nobody was asked.
    trial.run(GRANT).unwrap();
    let living = trial.local().control().grants().live()[0].flow();
    let asked = trial.state().join(format!("notices/{living}.asked"));
    fs::copy(&counts, &asked).unwrap();
    assert_eq!(trial.local().control().grants().live()[0].flow(), living);
    assert!(!asked.exists());
    assert_eq!(notices.flows().unwrap(), [flow]);
}

#[test]
fn a_withdrawal_goes_on_though_nobody_can_be_asked_and_says_so() {
    let trial = Trial::provisioned();
    trial.run("policy install @bundle.dsse").unwrap();
    trial.run(GRANT).unwrap();
    let mut local = trial.local();
    // No place for a notice: its folder is a file.
    fs::write(trial.state().join("notices"), "in the way").unwrap();
    let ended = local.withdraw(&all_of_tyres(true)).unwrap();
    let Some(Asked::Not { why, contact }) = &ended[0].erasure else { panic!("{ended:?}") };
    assert!(why.contains("notices") && !contact.is_empty(), "{why}, {contact}");
    assert!(local.control().grants().live().is_empty());
    drop(local);
    assert!(trial.local().control().grants().live().is_empty(), "and for good");
}

#[test]
fn a_company_that_has_another_key_now_is_not_told() {
    let trial = Trial::provisioned();
    trial.run("policy install @bundle.dsse").unwrap();
    trial.run(GRANT).unwrap();
    // Another company under the same name.
    for name in ["tyres.key", "tyres.pub", "hpke.dsse", "request.dsse"] {
        fs::remove_file(trial.path(name)).unwrap();
    }
    trial.run("keys new ed25519 --out @tyres").unwrap();
    trial.run("policy sign @hpke.json --type hpke-key --key @tyres.key -o @hpke.dsse").unwrap();
    let request = String::from_utf8(trial.read("request.json")).unwrap();
    fs::write(trial.path("request.json"), request.replace("\"version\": 1", "\"version\": 2")).unwrap();
    trial.run("policy sign @request.json --type request --key @tyres.key -o @request.dsse").unwrap();
    for name in ["bundle.json", "bundle.dsse"] {
        fs::remove_file(trial.path(name)).unwrap();
    }
    trial.bundle(2, "");
    trial.run("policy install @bundle.dsse").unwrap();
    let mut local = trial.local();
    let ended = local.withdraw(&all_of_tyres(true)).unwrap();
    let Some(Asked::Not { why, .. }) = &ended[0].erasure else { panic!("{ended:?}") };
    assert!(why.contains("another key than when it was granted"), "{why}");
    assert!(local.control().grants().live().is_empty());
}
