//! Finds out at start what is stored. The segments are the truth; the index says what of it is settled.

use std::collections::BTreeSet;

use glovebox_core::names::{Epoch, FlowId, Sequence};
use glovebox_core::outbox::{Entry, LossReason, Position, Queue, SegmentNumber, missing, without};

use super::folder::Folder;
use super::index::{FlowState, Gap, Index};
use super::keys;
use super::scan::{self, Scan};
use super::segment::SegmentId;
use super::{Keep, Report};
use crate::store::StoreError;
use crate::store::disk::{Open, Place};
use crate::store::files::{self, FileError};

/// Why a flow could not be taken up.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Store(#[from] StoreError),
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
    flow: FlowId,
    queue: &mut Queue,
    report: &mut Report,
) -> Result<Folder, LoadError> {
    let known = index.state(flow)?;
    let had_keys = dir.join(&flow.to_string()).open(keys::NAME, Open::Read).is_ok();
    let (mut scanned, unreadable) = scan(dir, flow, report)?;
    let first = scanned.iter().find_map(|(_, scan)| scan.found.first()).map(|(_, head)| head.position);
    let state = known.clone().unwrap_or_else(|| {
        let first = first.unwrap_or(Position::start(Epoch { counter: 0, tag: 0 }));
        let before = Sequence(first.sequence.0.saturating_sub(1));
        let watermark = Position { epoch: first.epoch, sequence: before };
        FlowState { epoch: first.epoch, watermark, keep: Keep::default() }
    });
    let mut folder = Folder::open(dir, flow, state)?;
    let present: BTreeSet<SegmentNumber> = folder.segments()?.into_iter().collect();
    let orphans: Vec<_> = folder.keys.segments().filter(|number| !present.contains(number)).collect();
    folder.keys.destroy(&orphans).map_err(files::io_error("destroy keys in", &folder.place.path))?;
    folder.losses = index.losses(flow)?;
    folder.gaps = index.gaps(flow)?;
    // Without the index nobody knows which sequences were used, nor with a segment that cannot be read; without the key
    // file neither: a withdrawal may have destroyed what was queued, and not have been stored itself.
    folder.new_epoch = known.is_none() || !had_keys || unreadable;
    report.index_lost += u64::from(known.is_none());
    queue.begin(flow, folder.state.watermark);
    queue.set_priority(flow, folder.state.keep.priority);
    queue.set_age_max(flow, folder.state.keep.age_us_max);
    let mut at = folder.state.watermark;
    let newest = scanned.last().map(|(number, _)| *number);
    for (number, scan) in &mut scanned {
        queue.add_segment(flow, *number, false);
        for (offset, head) in &scan.found {
            let entry =
                Entry { position: head.position, segment: *number, offset: *offset, stored: head.stored };
            at = place(entry, at, &mut folder, queue, report);
        }
        if let Some(torn) = scan.torn {
            report.torn += 1;
            if Some(*number) == newest {
                // A record that was not yet reported, or a damaged one that was: it had the next sequence, which must
                // not come again with another content, and it is lost.
                let next = at.sequence.next();
                lose((next, next), at.epoch, &mut folder, report);
                at.sequence = next;
                folder.new_epoch = true;
            }
            tracing::warn!(target: "outbox", %flow, segment = number.0, at = torn, "torn end cut off");
        }
        report.damaged += u64::from(scan.damaged);
        let settled = scan::settle(&folder.place, folder.id(*number), scan);
        settled.map_err(files::io_error("sync a segment in", &folder.place.path))?;
        queue.set_segment_bytes(flow, *number, scan.allocated);
    }
    // Without its key and its name a segment is nothing: what is found is reported as stored.
    folder.sync()?;
    go_on_from(at, &mut folder, queue);
    reconcile_losses(&mut folder, queue);
    // The power went between noting what is settled and deleting it.
    folder.unsaved |= queue.unwanted(flow).next().is_some();
    Ok(folder)
}

/// What comes next in the flow is later than all that was used.
fn go_on_from(at: Position, folder: &mut Folder, queue: &mut Queue) {
    let flow = folder.flow;
    queue.begin(flow, at);
    if at.epoch > folder.state.epoch {
        (folder.state.epoch, folder.new_epoch) = (at.epoch, true);
    }
    queue.begin(flow, Position::start(folder.state.epoch));
    // A sequence that was declared lost is used, though nothing lies there: an earlier start may have cut it off.
    for gap in &folder.gaps {
        queue.begin(flow, Position { epoch: gap.epoch, sequence: gap.last });
    }
}

/// What the segments hold, and whether there is one that could not be read.
fn scan(
    dir: &Place,
    flow: FlowId,
    report: &mut Report,
) -> Result<(Vec<(SegmentNumber, Scan)>, bool), FileError> {
    let place = dir.join(&flow.to_string());
    if !place.exists() {
        return Ok((Vec::new(), false));
    }
    let state = FlowState {
        epoch: Epoch { counter: 0, tag: 0 },
        watermark: Position::start(Epoch { counter: 0, tag: 0 }),
        keep: Keep::default(),
    };
    let numbers = Folder::open(dir, flow, state)?.segments()?;
    let (mut scanned, mut unreadable) = (Vec::new(), false);
    for number in numbers {
        match scan::scan(&place, SegmentId { flow, number }) {
            Ok(scan) => scanned.push((number, scan)),
            Err(error) => {
                // Not fatal: what lay in it shows as a gap.
                report.damaged += 1;
                unreadable = true;
                tracing::error!(target: "outbox", %flow, segment = number.0, %error, "segment cannot be read");
            }
        }
    }
    Ok((scanned, unreadable))
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
    let noted = |gaps: &[Gap]| -> Vec<(Sequence, Sequence)> {
        let same = gaps.iter().filter(|gap| gap.epoch == position.epoch);
        same.map(|gap| (gap.first, gap.last)).collect()
    };
    if let Some(range) = missing(at, position) {
        for lost in without(range, &noted(&folder.gaps)) {
            lose(lost, position.epoch, folder, report);
        }
    }
    let here = (position.sequence, position.sequence);
    if without(here, &noted(&folder.gaps)).is_empty() {
        return position;
    }
    if folder.keys.key(entry.segment).is_none() {
        lose(here, position.epoch, folder, report);
    } else if queue.push(flow, entry).is_err() {
        tracing::error!(target: "outbox", %flow, sequence = position.sequence.0, "record out of order");
    }
    position
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
