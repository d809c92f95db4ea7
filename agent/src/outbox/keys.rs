//! A flow's key file: one slot for the key of each of its segments. Without its slot a segment is noise.
//!
//! ```text
//! <flow>/keys (0600): slots of 64 bytes, so that none crosses a sector; integers big-endian
//!   "GBXK" ‖ u32 version = 1 ‖ u64 segment ‖ 32 bytes AES-256-GCM key ‖ 16 bytes check
//!   check = first 16 bytes of SHA-256(the 48 bytes before it); an empty slot is 64 zero bytes
//! ```

use std::collections::BTreeMap;
use std::io;

use glovebox_core::names::Digest;
use glovebox_core::outbox::SegmentNumber;
use zeroize::Zeroizing;

use crate::store::disk::{DiskFile, Open, Place};

/// Its name in the flow's folder.
pub(super) const NAME: &str = "keys";

const SLOT: usize = 64;
const MAGIC: &[u8; 4] = b"GBXK";
const VERSION: u32 = 1;

/// The key of one segment; zeroed when it is dropped.
#[derive(Clone)]
pub(super) struct SegmentKey(Zeroizing<[u8; 32]>);

impl SegmentKey {
    pub(super) fn random() -> io::Result<Self> {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(key.as_mut_slice()).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self(key))
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn slot(&self, segment: SegmentNumber) -> Zeroizing<[u8; SLOT]> {
        let mut slot = Zeroizing::new([0; SLOT]);
        slot[..4].copy_from_slice(MAGIC);
        slot[4..8].copy_from_slice(&VERSION.to_be_bytes());
        slot[8..16].copy_from_slice(&segment.0.to_be_bytes());
        slot[16..48].copy_from_slice(self.bytes());
        let check = Digest::of(&slot[..48]);
        slot[48..].copy_from_slice(&check.0[..16]);
        slot
    }

    fn from_slot(slot: &[u8; SLOT]) -> Option<(SegmentNumber, Self)> {
        let version = slot[4..8] == VERSION.to_be_bytes();
        if &slot[..4] != MAGIC || !version || Digest::of(&slot[..48]).0[..16] != slot[48..] {
            return None;
        }
        let number = u64::from_be_bytes(slot[8..16].try_into().ok()?);
        Some((SegmentNumber(number), Self(Zeroizing::new(slot[16..48].try_into().ok()?))))
    }
}

/// The key file of one flow.
pub(super) struct KeyFile {
    folder: Place,
    /// Made with the first key.
    file: Option<Box<dyn DiskFile>>,
    slots: u64,
    keys: BTreeMap<SegmentNumber, (u64, SegmentKey)>,
    free: Vec<u64>,
}

impl KeyFile {
    /// Opens it, if it is there: where it is missing, keys may have been destroyed, and that must show until something is
    /// stored again. Slots that are not whole count as free: what they opened is lost. One that the disk does not
    /// give is an error, since it may be whole: it must not be written over.
    pub(super) fn open(folder: &Place) -> io::Result<Self> {
        let mut opened =
            Self { folder: folder.clone(), file: None, slots: 0, keys: BTreeMap::new(), free: Vec::new() };
        match folder.open(NAME, Open::Read) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(opened),
            Err(error) => return Err(error),
        }
        let file = opened.file.insert(folder.open(NAME, Open::Create)?);
        opened.slots = file.size()?.length.div_ceil(SLOT as u64);
        for index in 0..opened.slots {
            let mut slot = Zeroizing::new([0; SLOT]);
            let whole = match file.read_exact_at(slot.as_mut_slice(), index * SLOT as u64) {
                Ok(()) => true,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => false,
                Err(error) => return Err(error),
            };
            match SegmentKey::from_slot(&slot).filter(|_| whole) {
                Some((segment, key)) => drop(opened.keys.insert(segment, (index, key))),
                None => opened.free.push(index),
            }
        }
        Ok(opened)
    }

    pub(super) fn is_there(&self) -> bool {
        self.file.is_some()
    }

    pub(super) fn key(&self, segment: SegmentNumber) -> Option<&SegmentKey> {
        self.keys.get(&segment).map(|(_, key)| key)
    }

    pub(super) fn segments(&self) -> impl Iterator<Item = SegmentNumber> {
        self.keys.keys().copied()
    }

    /// Space that it takes.
    pub(super) fn allocated(&self) -> io::Result<u64> {
        self.file.as_ref().map_or(Ok(0), |file| Ok(file.size()?.allocated))
    }

    /// Writes a new key; durable after [`Self::sync`].
    pub(super) fn put(&mut self, segment: SegmentNumber, key: &SegmentKey) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(self.folder.open(NAME, Open::Create)?),
        };
        let index = self.free.last().copied().unwrap_or(self.slots);
        file.write_all_at(key.slot(segment).as_slice(), index * SLOT as u64)?;
        if self.free.pop().is_none() {
            self.slots += 1;
        }
        self.keys.insert(segment, (index, key.clone()));
        Ok(())
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.as_ref().map_or(Ok(()), |file| file.sync())
    }

    /// Overwrites the keys of these segments; gone from the disk when it returns.
    pub(super) fn destroy(&mut self, segments: &[SegmentNumber]) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let mut any = false;
        for segment in segments {
            if let Some((index, _)) = self.keys.get(segment) {
                file.write_all_at(&[0; SLOT], index * SLOT as u64)?;
                any = true;
            }
        }
        if any {
            file.sync()?;
        }
        for segment in segments {
            if let Some((index, _)) = self.keys.remove(segment) {
                self.free.push(index);
            }
        }
        Ok(())
    }

    /// Overwrites everything in the key file of `folder`, whatever it is; gone from the disk when it returns.
    pub(super) fn overwrite(folder: &Place) -> io::Result<()> {
        let file = match folder.open(NAME, Open::Write) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let length = file.size()?.length;
        for index in 0..length.div_ceil(SLOT as u64) {
            file.write_all_at(&[0; SLOT], index * SLOT as u64)?;
        }
        file.sync()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn keys_are_kept_destroyed_and_their_slots_used_again() {
        let folder = tempfile::tempdir().unwrap();
        let (path, place) = (folder.path().join("keys"), Place::system(folder.path().to_owned()));
        let mut file = KeyFile::open(&place).unwrap();
        let keys: Vec<SegmentKey> = (0..3).map(|_| SegmentKey::random().unwrap()).collect();
        for (number, key) in (0..).zip(&keys) {
            file.put(SegmentNumber(number), key).unwrap();
        }
        file.destroy(&[SegmentNumber(1), SegmentNumber(9)]).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let bytes = std::fs::read(&path).unwrap();
        assert!(!bytes.windows(32).any(|window| window == keys[1].bytes()), "destroyed means gone");
        let mut file = KeyFile::open(&place).unwrap();
        assert_eq!(file.segments().collect::<Vec<_>>(), [SegmentNumber(0), SegmentNumber(2)]);
        assert_eq!(file.key(SegmentNumber(2)).unwrap().bytes(), keys[2].bytes());
        file.put(SegmentNumber(5), &keys[1]).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 3 * 64, "the free slot was taken");
    }

    #[test]
    fn a_torn_or_damaged_slot_is_free_and_the_others_hold() {
        let folder = tempfile::tempdir().unwrap();
        let (path, place) = (folder.path().join("keys"), Place::system(folder.path().to_owned()));
        let mut file = KeyFile::open(&place).unwrap();
        for number in 0..3 {
            file.put(SegmentNumber(number), &SegmentKey::random().unwrap()).unwrap();
        }
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[20] ^= 1;
        bytes.truncate(2 * 64 + 40);
        std::fs::write(&path, bytes).unwrap();
        let mut file = KeyFile::open(&place).unwrap();
        assert_eq!(file.segments().collect::<Vec<_>>(), [SegmentNumber(1)]);
        for number in 7..9 {
            file.put(SegmentNumber(number), &SegmentKey::random().unwrap()).unwrap();
        }
        assert_eq!(KeyFile::open(&place).unwrap().segments().count(), 3);
    }
}
