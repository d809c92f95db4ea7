//! Finds out at start what is stored. The segments are the truth; the index says what of it is settled.

use std::collections::BTreeSet;
use std::io;

use glovebox_core::limits::SEGMENTS_DOUBTED_MAX;
use glovebox_core::names::{Epoch, FlowId, Sequence};
use glovebox_core::outbox::{Entry, LossReason, Position, Queue, SegmentNumber, missing, without};

use super::folder::Folder;
use super::index::{Change, FlowState, Gap, Index};
use super::scan::{self, Scan};
use super::segment::SegmentId;
use super::{Keep, Report};
use crate::store::StoreError;
use crate::store::disk::Place;
use crate::store::files::{self, FileError};

/// Why a flow could not be taken up.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nobody knows what is in it.
    #[error("segment {} cannot be read: {source}", number.0)]
    Segment { number: SegmentNumber, source: io::Error },
}

/// What becomes of a flow with a segment that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// The flow waits: it may be readable soon.
    Waits,
    /// What is in the segment counts as lost.
    IsLost,
}

/// The flows that have a folder.
pub(super) fn folders(dir: &Place) -> Result<BTreeSet<FlowId>, FileError> {
    let names = dir.list()?;
    let flow = |name: &str| {
        let flow = name.parse::<FlowId>().ok().filter(|flow| flow.to_string() == name)?;
        dir.join(name).exists().then_some(flow)
    };
    Ok(names.iter().filter_map(|name| flow(name.to_str()?)).collect())
}

/// Takes up a flow: its records go into `queue`, what is missing into its losses.
pub(super) fn load(
    dir: &Place,
    index: &Index,
    (flow, unreadable): (FlowId, Unreadable),
    queue: &mut Queue,
    report: &mut Report,
) -> Result<Folder, LoadError> {
    let known = index.state(flow)?;
    let mut scanned = scan(dir, (flow, unreadable))?;
    let first = scanned.iter().find_map(|(_, scan)| first_of(scan.as_ref()?));
    report.index_lost += u64::from(known.is_none());
    // Without the index nobody knows which sequences were used; without the key file neither: a withdrawal may have
    // destroyed what was queued, and not have been stored itself.
    let is_known = known.is_some();
    let mut folder = Folder::open(dir, flow, known.unwrap_or_else(|| unknown(first)))?;
    folder.new_epoch = !is_known || !folder.keys.is_there();
    let present: BTreeSet<SegmentNumber> = folder.segments()?.into_iter().collect();
    let orphans: Vec<_> = folder.keys.segments().filter(|number| !present.contains(number)).collect();
    folder.keys.destroy(&orphans).map_err(files::io_error("destroy keys in", &folder.place.path))?;
    folder.losses = index.losses(flow)?;
    folder.gaps = index.gaps(flow)?;
    queue.begin(flow, folder.state.watermark);
    queue.set_priority(flow, folder.state.keep.priority);
    queue.set_age_max(flow, folder.state.keep.age_us_max);
    let at = take_in(&scanned, &mut folder, queue, report);
    settle(index, &mut scanned, &folder, queue)?;
    // Without its key and its name a segment is nothing: what is found is reported as stored.
    folder.sync()?;
    go_on_from(at, &mut folder, queue);
    reconcile_losses(&mut folder, queue);
    // The power went between noting what is settled and deleting it.
    folder.unsaved |= queue.unwanted(flow).next().is_some();
    Ok(folder)
}

/// The state of a flow that the index does not know, by the first record.
fn unknown(first: Option<Position>) -> FlowState {
    let first = first.unwrap_or(Position::start(Epoch { counter: 0, tag: 0 }));
    let before = Sequence(first.sequence.0.saturating_sub(1));
    let watermark = Position { epoch: first.epoch, sequence: before };
    FlowState { epoch: first.epoch, watermark, keep: Keep::default() }
}

/// Puts all that was found in its place and answers how far the flow is known.
fn take_in(scanned: &[Scanned], folder: &mut Folder, queue: &mut Queue, report: &mut Report) -> Position {
    let mut at = folder.state.watermark;
    for ((number, scan), next_epoch) in scanned.iter().zip(epochs_after(scanned)) {
        queue.add_segment(folder.flow, *number, false);
        for (offset, head) in scan.iter().flat_map(|scan| &scan.found) {
            let entry =
                Entry { position: head.position, segment: *number, offset: *offset, stored: head.stored };
            at = place(entry, at, folder, queue, report);
        }
        let whole = scan.as_ref().is_some_and(|scan| scan.torn.is_none());
        // Behind it a later record of its epoch would show what is missing.
        if !whole && next_epoch != Some(at.epoch) {
            at = lose_end(at, folder, report);
            folder.new_epoch |= next_epoch.is_none();
        }
        report.torn += u64::from(scan.as_ref().is_some_and(|scan| scan.torn.is_some()));
        report.damaged += scan.as_ref().map_or(1, |scan| scan.damaged.into());
    }
    go_past_gaps(at, folder, report)
}

/// A sequence that was declared lost is used, though nothing lies there: an earlier start may have cut it off, or it was
/// given up. What was before it and is not there either is lost too.
fn go_past_gaps(mut at: Position, folder: &mut Folder, report: &mut Report) -> Position {
    let mut gaps = folder.gaps.clone();
    gaps.sort_unstable_by_key(|gap| (gap.epoch, gap.first));
    for Gap { epoch, first, last } in gaps {
        lose_between(at, Position { epoch, sequence: first }, folder, report);
        at = at.max(Position { epoch, sequence: last });
    }
    at
}

fn lose_between(at: Position, found: Position, folder: &mut Folder, report: &mut Report) {
    let Some(range) = missing(at, found).filter(|_| at < found) else { return };
    for lost in without(range, &noted(&folder.gaps, found.epoch)) {
        lose(lost, found.epoch, folder, report);
    }
}

/// Behind `at` there was a record that was not yet reported, or a damaged one that was, or a whole segment: it had the
/// next sequence, which must not come again with another content, and it is lost.
fn lose_end(at: Position, folder: &mut Folder, report: &mut Report) -> Position {
    let next = at.sequence.next();
    for lost in without((next, next), &noted(&folder.gaps, at.epoch)) {
        lose(lost, at.epoch, folder, report);
    }
    Position { sequence: next, ..at }
}

/// Makes durable what the segments hold, without their torn ends. Those are cut off only when it is noted that something
/// is lost there: else, if this does not come to its end, nobody would know of it any more.
fn settle(
    index: &Index,
    scanned: &mut [Scanned],
    folder: &Folder,
    queue: &mut Queue,
) -> Result<(), LoadError> {
    let torn = scanned.iter().any(|(_, scan)| scan.as_ref().is_some_and(|scan| scan.torn.is_some()));
    let noted = !torn || !folder.unsaved || note(index, folder);
    for (number, scan) in scanned.iter_mut().filter_map(|(number, scan)| Some((number, scan.as_mut()?))) {
        scan.torn = scan.torn.filter(|_| noted);
        if let Some(at) = scan.torn {
            tracing::warn!(target: "outbox", flow = %folder.flow, segment = number.0, at, "torn end cut off");
        }
        let settled = scan::settle(&folder.place, folder.id(*number), scan);
        settled.map_err(files::io_error("sync a segment in", &folder.place.path))?;
        queue.set_segment_bytes(folder.flow, *number, scan.allocated);
    }
    Ok(())
}

/// Notes what was found lost. Answers whether it is durable.
fn note(index: &Index, folder: &Folder) -> bool {
    let mut change = Change::default();
    change.losses(folder.flow, &folder.losses);
    folder.gaps.iter().for_each(|gap| change.gap(folder.flow, *gap));
    let noted = index.apply(&change);
    if let Err(error) = &noted {
        tracing::warn!(target: "outbox", flow = %folder.flow, %error, "a torn end stays until its loss can be noted");
    }
    noted.is_ok()
}

/// What comes next in the flow is later than all that was used.
fn go_on_from(at: Position, folder: &mut Folder, queue: &mut Queue) {
    let flow = folder.flow;
    queue.begin(flow, at);
    if at.epoch > folder.state.epoch {
        (folder.state.epoch, folder.new_epoch) = (at.epoch, true);
    }
    queue.begin(flow, Position::start(folder.state.epoch));
}

fn first_of(scan: &Scan) -> Option<Position> {
    scan.found.first().map(|(_, head)| head.position)
}

/// Of each segment, in which epoch the next record behind it is.
fn epochs_after(scanned: &[Scanned]) -> Vec<Option<Epoch>> {
    let behind = |at: usize| scanned[at + 1..].iter().find_map(|(_, scan)| first_of(scan.as_ref()?));
    (0..scanned.len()).map(|at| Some(behind(at)?.epoch)).collect()
}

/// A segment and what it holds; `None` if it cannot be read.
type Scanned = (SegmentNumber, Option<Scan>);

/// What the segments hold.
fn scan(dir: &Place, (flow, unreadable): (FlowId, Unreadable)) -> Result<Vec<Scanned>, LoadError> {
    let place = dir.join(&flow.to_string());
    if !place.exists() {
        return Ok(Vec::new());
    }
    let state = FlowState {
        epoch: Epoch { counter: 0, tag: 0 },
        watermark: Position::start(Epoch { counter: 0, tag: 0 }),
        keep: Keep::default(),
    };
    let numbers = Folder::open(dir, flow, state)?.segments()?;
    let mut scanned = Vec::new();
    let sure = numbers.len().saturating_sub(SEGMENTS_DOUBTED_MAX);
    for (at, number) in numbers.into_iter().enumerate() {
        let id = SegmentId { flow, number };
        let seen = if at < sure { Ok(()) } else { scan::look_at_medium(&place, id) };
        // What counts as lost otherwise is taken as it can be read.
        let seen = if unreadable == Unreadable::Waits { seen } else { Ok(()) };
        match seen.and_then(|()| scan::scan(&place, id)) {
            Ok(scan) => scanned.push((number, Some(scan))),
            Err(source) if unreadable == Unreadable::Waits => {
                return Err(LoadError::Segment { number, source });
            }
            Err(error) => {
                scanned.push((number, None));
                tracing::error!(target: "outbox", %flow, segment = number.0, %error, "unreadable: what is in it is lost");
            }
        }
    }
    Ok(scanned)
}

/// Puts one record in its place and answers how far the flow is known now.
fn place(
    entry: Entry,
    at: Position,
    folder: &mut Folder,
    queue: &mut Queue,
    report: &mut Report,
) -> Position {
    let (flow, position) = (folder.flow, entry.position);
    if position <= at {
        // Settled, or written again after a failed sync: then the later copy counts.
        queue.moved(flow, entry);
        return at;
    }
    lose_between(at, position, folder, report);
    let here = (position.sequence, position.sequence);
    if without(here, &noted(&folder.gaps, position.epoch)).is_empty() {
        return position;
    }
    if folder.keys.key(entry.segment).is_none() {
        lose(here, position.epoch, folder, report);
    } else if queue.push(flow, entry).is_err() {
        tracing::error!(target: "outbox", %flow, sequence = position.sequence.0, "record out of order");
    }
    position
}

/// What of `epoch` is known to be lost.
fn noted(gaps: &[Gap], epoch: Epoch) -> Vec<(Sequence, Sequence)> {
    gaps.iter().filter(|gap| gap.epoch == epoch).map(|gap| (gap.first, gap.last)).collect()
}

fn lose(range: (Sequence, Sequence), epoch: Epoch, folder: &mut Folder, report: &mut Report) {
    let (first, last) = range;
    folder.losses.add_batches(LossReason::Corrupt, epoch, range);
    folder.gaps.push(Gap { epoch, first, last });
    folder.unsaved = true;
    let count = last.0 - first.0 + 1;
    report.lost += count;
    tracing::error!(
        target: "outbox", flow = %folder.flow, first = first.0, last = last.0, "stored batches are lost"
    );
}

/// What was to be declared by a batch that is not stored must be declared by another one.
fn reconcile_losses(folder: &mut Folder, queue: &Queue) {
    let carriers: BTreeSet<Position> =
        folder.losses.pending().iter().filter_map(|known| known.carrier).collect();
    for carrier in carriers {
        if queue.entry(carrier.of(folder.flow)).is_none() {
            folder.unsaved |= folder.losses.undeclared(carrier);
        }
    }
}
