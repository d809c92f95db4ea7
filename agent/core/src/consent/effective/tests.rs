//! What follows of several rules for one flow.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::*;
use crate::consent::document::record::EventState;
use crate::consent::document::samples::{record, requests};
use crate::consent::transform::TransformSpec;

#[test]
fn of_ages_the_strictest_wins() {
    let (mut request, seed) = requests().remove(0);
    let mut records = [1, 2].map(|number| record(number, &request, seed, EventState::ConsentGiven));
    let mut age = |asked, said: [Option<u32>; 2]| {
        request.max_age_s = asked;
        records.iter_mut().zip(said).for_each(|(record, said)| record.conditions.max_age_s = said);
        age_us_max(&request, records.iter())
    };
    assert_eq!(age(None, [None, None]), None);
    assert_eq!(age(Some(90), [None, None]), Some(90_000_000));
    assert_eq!(age(Some(90), [Some(600), Some(70)]), Some(70_000_000));
    assert_eq!(age(Some(60), [Some(u32::MAX), None]), Some(60_000_000));
    assert_eq!(age(None, [Some(u32::MAX), None]), Some(4_294_967_295_000_000));
}

/// A signal of a flow by its transforms as granted and as they apply now, in the words of documents.
fn signal(path: &str, granted: &str, permitted: &str) -> SignalRules {
    let rule = |json: &str| Rule::of(&serde_json::from_str::<Vec<TransformSpec>>(json).unwrap());
    let Rule::Pass(granted) = rule(granted) else { unreachable!("nothing is granted") };
    SignalRules {
        leaf: LeafIndex(0),
        path: SignalPath::new(path).unwrap(),
        unit: String::new(),
        value_type: ValueType::Unsigned,
        scale: 1.0,
        offset: 0.0,
        names: Vec::new(),
        granted,
        permitted: rule(permitted),
    }
}

fn flow(signals: Vec<SignalRules>) -> FlowRules {
    FlowRules {
        flow: FlowId(1),
        recipient: RecipientId::new("r").unwrap(),
        purpose: PurposeId::new("p").unwrap(),
        request_digest: Digest([0; 32]),
        event: None,
        hpke_key: HpkeKey([0; 32]),
        live_until: WallTime(i64::MAX),
        batch_age_us: 1,
        age_us_max: None,
        bytes_per_day_max: None,
        microseconds: false,
        signals,
    }
}

const MIN_MEAN: &str = r#"[{"op":"aggregate","window_s":60,"functions":["mean","min"]}]"#;
const MEAN: &str = r#"[{"op":"aggregate","window_s":60,"functions":["mean"]}]"#;

#[test]
fn each_figure_that_was_granted_is_a_signal_of_its_own() {
    let figures = signal("V.Speed", MIN_MEAN, MEAN).figures();
    let names: Vec<_> =
        figures.iter().map(|it| (it.granted.function().unwrap().name(), it.permitted)).collect();
    let Rule::Pass(mean) = figures[1].permitted else { unreachable!("the mean is permitted") };
    assert_eq!(names, [("min", Rule::Deny), ("mean", Rule::Pass(mean))]);
    assert_eq!(mean.function().unwrap().name(), "mean");
    assert_eq!(signal("V.Speed", "[]", "[]").figures(), [signal("V.Speed", "[]", "[]")]);
    assert_eq!(signal("V.Speed", "[]", MEAN).figures()[0].permitted, Rule::Pass(mean));
    let several = signal("V.Speed", "[]", MIN_MEAN).figures();
    assert_eq!(several[0].permitted, Rule::Deny, "one number in the descriptor, two figures");
}

#[test]
fn each_bin_is_a_signal_and_a_coarser_one_stands_where_it_begins() {
    let of = |edges: &str| {
        format!(r#"[{{"op":"aggregate","window_s":60,"functions":["mean","histogram"],"edges":{edges}}}]"#)
    };
    let (fine, coarse) = (of("[0,50,100]"), of("[50]"));
    let told = |granted: &str, permitted: &str| -> Vec<Option<String>> {
        let words = |it: &SignalRules| match it.permitted {
            Rule::Pass(transform) => transform.figure_words(),
            Rule::Deny => None,
        };
        signal("V.Speed", granted, permitted).figures().iter().map(words).collect()
    };
    let some = |words: &str| Some(words.to_owned());
    let all = ["mean", "below 0", "0 to 50", "50 to 100", "from 100"].map(some);
    assert_eq!(told(&fine, &fine), all);
    assert_eq!(told(&fine, &coarse), [some("mean"), some("below 50"), None, some("from 50"), None]);
    assert_eq!(told(&fine, MEAN), [some("mean"), None, None, None, None]);
    let (fine, coarse) = (signal("V.S", &fine, &fine).figures(), signal("V.S", &fine, &coarse).figures());
    assert!(
        flow(coarse.clone()).narrower_than(&flow(fine.clone())) && !flow(fine).narrower_than(&flow(coarse))
    );
    let counted = &signal("V.S", &of("[0]"), &of("[0]")).figures()[1];
    assert_eq!((counted.coding().value_type, counted.coding().scale), (ValueType::Unsigned, 1.0));
}

#[test]
fn a_figure_less_is_narrower_and_one_more_is_not() {
    let of = |transforms: &str| flow(signal("V.Speed", transforms, transforms).figures());
    let (both, mean, all) = (of(MIN_MEAN), of(MEAN), of("[]"));
    assert!(mean.narrower_than(&both) && !both.narrower_than(&mean));
    assert!(mean.narrower_than(&all) && !all.narrower_than(&mean));
    assert!(!mean.narrower_than(&mean));
}

#[test]
fn a_flow_is_held_back_as_long_as_what_is_held_back_longest() {
    let of = |s: u32| format!(r#"[{{"op":"delay","hold_back_s":{s}}}]"#);
    let slow = signal("V.A", "[]", &of(5));
    let denied = SignalRules { permitted: Rule::Deny, ..signal("V.B", &of(9), "[]") };
    let quick = signal("V.C", "[]", "[]");
    assert_eq!(flow(vec![quick.clone(), slow, denied.clone()]).hold_back_us(), 5_000_000);
    assert_eq!(flow(vec![quick, denied]).hold_back_us(), 0);
}
