//! Wrong client certificate, wrong server name, certificates of yesterday and tomorrow, plain TCP: the agent sends
//! nothing, and says which of them it is.

use anyhow::{Result, ensure};
use glovebox_tests::broker::{Broker, HOSTS};
use glovebox_tests::certs::{Authority, Identity, Validity};
use glovebox_tests::fleet::Party;
use glovebox_tests::need::{self, Drive};
use glovebox_tests::scene::Scene;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(40);

/// What the agent is given, and the words of which at least one of each group must be in what it says.
struct Case {
    name: &'static str,
    broker: String,
    car: Identity,
    words: &'static [&'static [&'static str]],
}

fn refused(scene: &Scene, drive: &Drive, case: &Case, brokers: &[&Broker]) -> Result<()> {
    let mut settings = scene.settings(drive, "max", 10);
    settings.broker.clone_from(&case.broker);
    settings.car = case.car.clone();
    let mut agent = scene.agent(&settings)?;
    agent.start()?;
    let said = |status: &serde_json::Value| status["link"]["last_error"].is_string();
    let status = agent.wait_for("the refusal", LIMIT, said)?;
    let error = status["link"]["last_error"].as_str().unwrap_or_default().to_lowercase();
    let log = agent.log().to_lowercase();
    for group in case.words {
        let named = |text: &str| group.iter().any(|word| text.contains(word));
        ensure!(named(&error), "{}: none of {group:?} in the status: {error}", case.name);
        ensure!(named(&log), "{}: none of {group:?} in the log", case.name);
    }
    ensure!(status["link"]["state"] != "connected", "{}: connected", case.name);
    agent.stop()?;
    let published = brokers.iter().any(|broker| !broker.received().is_empty());
    ensure!(!published, "{}: something was published", case.name);
    Ok(())
}

#[test]
fn what_tls_refuses_is_named() -> Result<()> {
    let Some(()) = need::broker("tls")? else { return Ok(()) };
    let Some(drive) = need::drive() else { return need::skip("tls", "no shared data (GLOVEBOX_SHARED)") };
    let scene = Scene::new(vec![Party::plain("garage", &["CAN.can0.SPEED.SPEED"])])?;
    let agent = scene.agent(&scene.settings(&drive, "max", 10))?;
    scene.fleet.prepare(&agent, &["garage"])?;
    let stranger = Authority::new(&scene.path("stranger")?, "Another CA")?;
    let broker = |name: &str, signer: &Authority, hosts, validity| -> Result<Broker> {
        let server = signer.issue(name, hosts, validity)?;
        Broker::start_as(&scene.path(&format!("broker-{name}"))?, &scene.authority, &server)
    };
    let elsewhere = broker("elsewhere", &scene.authority, "DNS:elsewhere.example", Validity::Live)?;
    let stale = broker("stale", &scene.authority, HOSTS, Validity::Expired)?;
    let early = broker("early", &scene.authority, HOSTS, Validity::Early)?;
    let strange = broker("strange", &stranger, HOSTS, Validity::Live)?;
    let case = |name, broker: &str, car: &Identity, words| Case {
        name,
        broker: broker.to_owned(),
        car: car.clone(),
        words,
    };
    let cases = [
        case("the broker has another name", &elsewhere.address(), &scene.car, &[&["name", "not valid for"]]),
        case(
            "the broker's certificate has expired",
            &stale.address(),
            &scene.car,
            &[&["expired"], &["broker", "server"]],
        ),
        case(
            "the clock is wrong, or the broker's certificate is of tomorrow",
            &early.address(),
            &scene.car,
            &[
                &["valid only from 2047-01-01t00:00:00z"],
                &["and it is 20"],
                &["set the clock if it is wrong"],
            ],
        ),
        case(
            "the broker's authority is unknown",
            &strange.address(),
            &scene.car,
            &[&["authority", "issuer", "unknown ca"]],
        ),
        case(
            "the broker speaks plain TCP",
            &scene.broker.plain_address(),
            &scene.car,
            &[&["plain", "no tls", "not tls", "without tls", "does not speak tls"]],
        ),
        case(
            "the car's certificate is of another authority",
            &scene.broker.address(),
            &stranger.issue("car-1", "", Validity::Live)?,
            &[&["our certificate", "client certificate", "car's certificate"]],
        ),
        case(
            "the car's certificate has expired",
            &scene.broker.address(),
            &scene.authority.issue("car-old", "", Validity::Expired)?,
            &[&["expired"], &["our certificate", "client certificate", "car's certificate"]],
        ),
    ];
    for case in &cases {
        refused(&scene, &drive, case, &[&scene.broker, &elsewhere, &stale, &early, &strange])?;
    }
    scene.finish();
    Ok(())
}
