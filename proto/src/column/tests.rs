//! Claims of the column coding: exact bytes, round trips, refusals, one spelling for each column.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
use super::*;
use proptest::prelude::*;

const TYPES: [ValueType; 5] =
    [ValueType::Unsigned, ValueType::Signed, ValueType::Float32, ValueType::Float64, ValueType::Boolean];

fn states() -> impl Strategy<Value = Vec<(u32, State)>> {
    let state =
        prop::sample::select(vec![State::NotAvailable, State::Error, State::OutOfRange, State::Absent]);
    prop::collection::btree_map(0u32..5_000, state, 0..50).prop_map(|map| map.into_iter().collect())
}

#[test]
fn exact_bytes() {
    let mut ints = IntEncoder::default();
    for value in [0u64, 1, 0, 64, 64, u64::MAX, 0] {
        ints.push(value);
    }
    // 0, +1, -1, +64, 0, -65 (wrapping), +1
    assert_eq!(ints.bytes(), [0, 2, 1, 0x80, 0x01, 0, 0x81, 0x01, 2]);
    let mut times = TimeEncoder::default();
    for time in [1_000, 1_010, 1_020, 1_031] {
        times.push(time);
    }
    // 1000, +10, (10 - 10), (11 - 10)
    assert_eq!((times.bytes(), times.count()), ([0xd0, 0x0f, 20, 0, 2].as_slice(), 4));
    let mut states = StateEncoder::default();
    states.push(0, State::Absent);
    states.push(1, State::Value);
    states.push(300, State::Error);
    assert_eq!(states.bytes(), [0, 4, 0xac, 0x02, 2]);
    let mut float = ValueEncoder::new(ValueType::Float32);
    float.push(u64::from(1.5f32.to_bits()));
    assert_eq!(float.take(), 1.5f32.to_le_bytes());
    assert!(float.is_empty());
}

#[test]
fn extremes_round_trip() {
    let values = [u64::MAX, 0, 1 << 63, (1 << 63) - 1, u64::MAX / 3, 0x7f, 0x80, 0x3fff, 0x4000];
    let mut encoder = IntEncoder::default();
    values.iter().for_each(|value| encoder.push(*value));
    let decoded = decode_values(ValueType::Unsigned, encoder.bytes(), values.len());
    assert_eq!(decoded.unwrap(), values);
    let times = [i64::MIN, i64::MAX, 0, -1, i64::MAX, i64::MIN];
    let mut encoder = TimeEncoder::default();
    times.iter().for_each(|time| encoder.push(*time));
    assert_eq!(decode_times(encoder.bytes(), times.len()).unwrap(), times);
}

#[test]
fn refusals() {
    let ints = |bytes: &[u8], count| decode_values(ValueType::Signed, bytes, count);
    assert_eq!(ints(&[0x80, 0x00], 1), Err(ColumnError::Overlong { at: 0 }));
    let eleven = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
    assert_eq!(ints(&eleven, 1), Err(ColumnError::Overlong { at: 0 }));
    assert_eq!(ints(&[0, 0, 0], 2), Err(ColumnError::Trailing { bytes: 1, count: 2 }));
    assert_eq!(ints(&[0], 2), Err(ColumnError::Truncated { at: 1, read: 1, count: 2 }));
    assert_eq!(ints(&[0, 0x80], 2), Err(ColumnError::Truncated { at: 2, read: 1, count: 2 }));
    assert_eq!(ints(&[], usize::MAX), Err(ColumnError::Count { count: usize::MAX }));
    assert_eq!(decode_values(ValueType::Unspecified, &[], 0), Err(ColumnError::Type));
    assert_eq!(
        decode_values(ValueType::Float64, &[0; 17], 2),
        Err(ColumnError::Trailing { bytes: 1, count: 2 })
    );
    assert_eq!(decode_states(&[0, 0], 1), Err(ColumnError::State { state: 0, at: 1 }));
    assert_eq!(decode_states(&[0, 9], 1), Err(ColumnError::State { state: 9, at: 1 }));
    assert_eq!(decode_states(&[1, 1], 1), Err(ColumnError::Index { index: 1, count: 1 }));
    assert_eq!(decode_states(&[0, 1, 0, 1], 2), Err(ColumnError::Index { index: 0, count: 2 }));
}

proptest! {
    #[test]
    fn values_round_trip(values in prop::collection::vec(any::<u64>(), 0..200), which in 0usize..5) {
        let value_type = TYPES[which];
        let values: Vec<u64> = match value_type {
            ValueType::Float32 => values.iter().map(|value| value & 0xffff_ffff).collect(),
            _ => values,
        };
        let mut encoder = ValueEncoder::new(value_type);
        encoder.push(7);
        encoder.clear();
        values.iter().for_each(|value| encoder.push(*value));
        prop_assert_eq!(encoder.len(), encoder.bytes().len());
        let bytes = encoder.bytes().to_vec();
        prop_assert_eq!(decode_values(value_type, &bytes, values.len()).unwrap(), values.clone());
        for cut in 0..bytes.len() {
            prop_assert!(decode_values(value_type, &bytes[..cut], values.len()).is_err());
        }
        prop_assert!(decode_values(value_type, &bytes, values.len() + 1).is_err());
        prop_assert!(values.is_empty() || decode_values(value_type, &bytes, values.len() - 1).is_err());
        prop_assert_eq!(encoder.take(), bytes);
        values.iter().for_each(|value| encoder.push(*value));
        prop_assert_eq!(decode_values(value_type, encoder.bytes(), values.len()).unwrap(), values);
    }

    #[test]
    fn times_round_trip(times in prop::collection::vec(any::<i64>(), 0..200), start in any::<i64>(), step in 0i64..2_000) {
        let even: Vec<i64> = (0..200).map(|n| start.wrapping_add(n * step)).collect();
        for times in [times, even] {
            let mut encoder = TimeEncoder::default();
            times.iter().for_each(|time| encoder.push(*time));
            prop_assert_eq!(encoder.count() as usize, times.len());
            prop_assert_eq!(decode_times(encoder.bytes(), times.len()).unwrap(), times.clone());
            prop_assert!(decode_times(encoder.bytes(), times.len() + 1).is_err());
        }
    }

    #[test]
    fn states_round_trip(pairs in states()) {
        let mut encoder = StateEncoder::default();
        pairs.iter().for_each(|(index, state)| encoder.push(*index, *state));
        prop_assert_eq!(decode_states(encoder.bytes(), 5_000).unwrap(), pairs.clone());
        if let Some((last, _)) = pairs.last() {
            prop_assert!(decode_states(encoder.bytes(), *last as usize).is_err());
            prop_assert!(decode_states(&encoder.bytes()[..encoder.len() - 1], 5_000).is_err());
        }
    }

    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..100), count in 0usize..120, which in 0usize..5) {
        let _ = decode_values(TYPES[which], &bytes, count);
        let _ = decode_times(&bytes, count);
        let _ = decode_states(&bytes, count);
    }

    #[test]
    fn what_decodes_is_what_encodes(
        bytes in prop::collection::vec(prop::sample::select(vec![0u8, 1, 2, 0x7f, 0x80, 0x81, 0xff]), 0..12),
        count in 0usize..8,
    ) {
        // One coding for each column: a second spelling of the same values would be a side channel.
        if let Ok(values) = decode_values(ValueType::Signed, &bytes, count) {
            let mut encoder = IntEncoder::default();
            values.iter().for_each(|value| encoder.push(*value));
            prop_assert_eq!(encoder.bytes(), &bytes);
        }
        if let Ok(pairs) = decode_states(&bytes, 1_000) {
            let mut encoder = StateEncoder::default();
            pairs.iter().for_each(|(index, state)| encoder.push(*index, *state));
            prop_assert_eq!(encoder.bytes(), &bytes);
        }
    }
}
