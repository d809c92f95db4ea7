//! `glovebox why SIGNAL`: does it leave the car, and which clause says so.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context as _;
use glovebox_core::names::{RecipientId, SignalPath};

use super::out::{Paint, answered};
use super::{Common, FINDINGS, UNUSABLE};
use crate::config::Files;
use crate::control::{ControlClient, Meanwhile, Why, WhyClause, WhyOrder, WhyPurpose};
use crate::daemon::authority::LocalAuthority;
use crate::daemon::zones::ZoneFile;

const LEARN: &str = "\
Examples:
  glovebox why Vehicle.Speed                      for everybody who was granted it or asks for it
  glovebox why Vehicle.Speed --recipient acme     for one
  glovebox why Vehicle.Speed --json | jq -r '.purposes[].clauses[].remedy // empty'

Asked is the running daemon; if none runs, the stores. What may leave may still wait, or stay in the
car for a while: that is said in lines that begin with \"but\", and `glovebox status` says more.

Exit codes:
  0  it leaves, for at least one of them
  1  it does not
  2  this cannot be told: no such signal is known here, unusable arguments or configuration,
     stores or daemon that do not answer";

/// Says whether a signal leaves the car, and which clause says no.
///
/// Each clause has yes or no, and for a no what would change it.
#[derive(Debug, clap::Args)]
#[command(after_help = LEARN)]
pub(super) struct Args {
    /// The signal, as `Vehicle.Speed` or `CAN.can0.Motion.Speed`.
    signal: SignalPath,
    /// Only for this recipient.
    #[arg(long, value_name = "ID")]
    recipient: Option<RecipientId>,
    /// As JSON, for a script.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(args: &Args, common: &Common) -> anyhow::Result<ExitCode> {
    let why = asked(args, common)?;
    // What nobody here knows is misspelt, perhaps: its "no" would be that of another signal.
    let code = match (why.leaves, why.known) {
        (true, _) => ExitCode::SUCCESS,
        (false, true) => ExitCode::from(FINDINGS),
        (false, false) => ExitCode::from(UNUSABLE),
    };
    answered(print(args, &why), code)
}

fn print(args: &Args, why: &Why) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if args.json {
        return Ok(writeln!(out, "{:#}", serde_json::to_value(why)?)?);
    }
    show(&mut out, why, args.recipient.as_ref(), Paint::of_stdout())
}

fn asked(args: &Args, common: &Common) -> anyhow::Result<Why> {
    let config = common.load(Files::NotNeeded)?;
    let order = WhyOrder { signal: args.signal.clone(), recipient: args.recipient.clone() };
    if let Some(mut client) = ControlClient::connect(&config.health.control_socket)? {
        return client.why(&order).context("the daemon cannot be asked");
    }
    let databases = super::databases(&config.decode)?;
    let car = super::car(&config);
    let local = LocalAuthority::open(&config.health.state, car, databases.known())?;
    for complaint in local.complaints() {
        writeln!(std::io::stderr().lock(), "glovebox: {complaint}")?;
    }
    let private_places = !ZoneFile::in_folder(&config.health.state).zones().is_empty();
    let meanwhile = Meanwhile { private_places, held: Vec::new() };
    Ok(local.why(&order, &databases.leaves, &meanwhile))
}

fn show(
    out: &mut impl Write,
    why: &Why,
    recipient: Option<&RecipientId>,
    paint: Paint,
) -> anyhow::Result<()> {
    let signal = &why.signal;
    if !why.known {
        writeln!(
            out,
            "no signal {signal} is known here: no database of this car gives it, no grant names it and no request asks for it"
        )?;
    } else if why.purposes.is_empty() {
        let whom = recipient.map_or_else(|| "anybody".to_owned(), ToString::to_string);
        writeln!(out, "{signal} does not leave for {whom}: no grant names it and no request asks for it")?;
    }
    if !why.near.is_empty() {
        writeln!(out, "did you mean {}?", why.near.join(", "))?;
    }
    for (number, purpose) in why.purposes.iter().enumerate() {
        if number > 0 {
            writeln!(out)?;
        }
        show_purpose(out, &why.signal, purpose, paint)?;
    }
    Ok(())
}

fn show_purpose(
    out: &mut impl Write,
    signal: &SignalPath,
    purpose: &WhyPurpose,
    paint: Paint,
) -> anyhow::Result<()> {
    let whom = format!("{} for {}", purpose.recipient, purpose.purpose);
    if purpose.leaves {
        writeln!(out, "{signal} {} for {whom}: {}", paint.good("leaves"), purpose.reduced)?;
    } else {
        writeln!(out, "{signal} {} for {whom}", paint.bad("does not leave"))?;
    }
    for clause in &purpose.clauses {
        writeln!(out, "  {}", line(clause, paint))?;
        if let Some(remedy) = &clause.remedy {
            writeln!(out, "       needs: {remedy}")?;
        }
    }
    for input in &purpose.made_of {
        let said = match &input.why {
            None => "it may feed it, and none of it leaves by that".to_owned(),
            Some(why) => format!("{}: {why}", paint.bad("it may not")),
        };
        writeln!(out, "  made of {}: {said}", input.signal)?;
    }
    for words in &purpose.meanwhile {
        writeln!(out, "  {}  {words}", paint.doubtful("but"))?;
    }
    Ok(())
}

fn line(clause: &WhyClause, paint: Paint) -> String {
    let answer = match clause.holds {
        Some(true) => paint.good("yes"),
        Some(false) => paint.bad("no "),
        None => paint.doubtful("-  "),
    };
    format!("{answer}  {}", clause.clause)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::WhyInput;

    #[test]
    fn each_clause_has_its_line_and_a_no_its_remedy() -> anyhow::Result<()> {
        let clause = |words: &str, holds: Option<bool>| WhyClause {
            id: words.replace(' ', "_"),
            clause: words.to_owned(),
            holds,
            remedy: (holds == Some(false)).then(|| "the owner".to_owned()),
        };
        let input = |path: &str, why: Option<&str>| -> anyhow::Result<WhyInput> {
            let (signal, why) = (path.parse()?, why.map(str::to_owned));
            Ok(WhyInput { signal, feeds: why.is_none(), id: None, why })
        };
        let purpose = WhyPurpose {
            recipient: "acme".parse()?,
            purpose: "tyre-care".parse()?,
            flow: None,
            leaves: false,
            reduced: "as it is".to_owned(),
            clauses: vec![clause("a", Some(true)), clause("b", Some(false)), clause("c", None)],
            made_of: vec![input("Vehicle.A", None)?, input("Vehicle.B", Some("it is gone"))?],
            meanwhile: vec!["not today".to_owned()],
        };
        let signal: SignalPath = "Vehicle.Speed".parse()?;
        let why = Why { signal, leaves: false, purposes: vec![purpose], known: true, near: Vec::new() };
        let mut text = Vec::new();
        show(&mut text, &why, None, Paint::none())?;
        let expected = "Vehicle.Speed does not leave for acme for tyre-care\n  yes  a\n  no   b\n       \
                        needs: the owner\n  -    c\n  made of Vehicle.A: it may feed it, and none of it leaves by that\n  \
                        made of Vehicle.B: it may not: it is gone\n  but  not today\n";
        assert_eq!(String::from_utf8(text)?, expected);
        Ok(())
    }
}
