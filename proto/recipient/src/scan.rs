//! Counts the messages inside of an encoded `Batch` before it is decoded: two bytes on the wire can become a
//! hundred in memory, so that a body of 32 MiB could ask for gigabytes.

/// Messages of all kinds in one batch. A batch of 2,000 signals with 20 enumeration names each has 42,000.
pub(crate) const MESSAGES_MAX: usize = 1 << 17;

/// A message type, by the fields of it that are messages again.
struct Schema(&'static [(u64, &'static Schema)]);

static LEAF: Schema = Schema(&[]);
static TRANSFORM: Schema = Schema(&[(2, &LEAF)]);
static SIGNAL: Schema = Schema(&[(6, &LEAF), (7, &TRANSFORM)]);
static DESCRIPTOR: Schema = Schema(&[(2, &SIGNAL)]);
static BATCH: Schema = Schema(&[(2, &DESCRIPTOR), (7, &LEAF), (8, &LEAF), (9, &LEAF)]);

/// True if the batch has at most [`MESSAGES_MAX`] messages. What cannot be read is left to the decoder.
pub(crate) fn is_bounded(batch: &[u8]) -> bool {
    let mut room = MESSAGES_MAX;
    count(batch, &BATCH, &mut room)
}

fn count(mut bytes: &[u8], schema: &Schema, room: &mut usize) -> bool {
    while let Some((field, value, rest)) = next_field(bytes) {
        bytes = rest;
        let Some((_, inner)) = schema.0.iter().find(|(number, _)| *number == field) else { continue };
        *room = room.saturating_sub(1);
        if *room == 0 || !count(value, inner, room) {
            return false;
        }
    }
    true
}

/// Number, content (if length-delimited) and what follows; `None` at the end or at a fault.
fn next_field(bytes: &[u8]) -> Option<(u64, &[u8], &[u8])> {
    let (key, rest) = varint(bytes)?;
    let length = match key & 7 {
        0 => {
            let (_, after) = varint(rest)?;
            return Some((key >> 3, &[], after));
        }
        1 => return Some((key >> 3, &[], rest.get(8..)?)),
        5 => return Some((key >> 3, &[], rest.get(4..)?)),
        2 => varint(rest)?,
        _ => return None,
    };
    let (value, after) = length.1.split_at_checked(usize::try_from(length.0).ok()?)?;
    Some((key >> 3, value, after))
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[index + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use glovebox_proto::v1;
    use prost::Message as _;

    fn batch(columns: usize, names: usize) -> Vec<u8> {
        let names = vec![v1::EnumName::default(); names];
        let signal = v1::Signal { names, ..v1::Signal::default() };
        let descriptor = v1::Descriptor { signals: vec![signal], ..v1::Descriptor::default() };
        let columns = vec![v1::Column::default(); columns];
        v1::Batch { columns, descriptor: Some(descriptor), ..v1::Batch::default() }.encode_to_vec()
    }

    #[test]
    fn counts_all_levels() {
        assert!(is_bounded(&batch(MESSAGES_MAX - 3, 0)));
        assert!(!is_bounded(&batch(MESSAGES_MAX - 2, 0)));
        assert!(!is_bounded(&batch(0, MESSAGES_MAX)));
        assert!(is_bounded(&[0xff; 40]) && is_bounded(&[]));
    }
}
