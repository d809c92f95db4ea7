//! The kernel's filter: which identifiers of a bus come to user space at all (invariant 6).
//!
//! Up to the kernel's limit every identifier has a filter of its own: the kernel finds those by a hash, while masks
//! are tried one after the other. Beyond it neighbours share a coarser mask, those first that let in least besides.

use glovebox_core::frame::{CanId, IdPattern};
use glovebox_core::limits::BUS_FILTERS_MAX;

/// Bit of a 29-bit identifier (`CAN_EFF_FLAG` of linux/can.h).
pub(super) const EXTENDED: u32 = 0x8000_0000;
/// Bit of a remote frame (`CAN_RTR_FLAG`).
pub(super) const REMOTE: u32 = 0x4000_0000;
const STANDARD_MASK: u32 = 0x7FF;
const EXTENDED_MASK: u32 = 0x1FFF_FFFF;

/// As the kernel compares: `received & mask == id & mask`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Filter {
    /// Identifier with its flags.
    pub(super) id: u32,
    /// Bits that count.
    pub(super) mask: u32,
}

impl Filter {
    /// Data frames of these identifiers. The kernel's hash is used only where all bits of the identifier count.
    fn of(pattern: IdPattern) -> Self {
        let (id, bits) = match pattern.id {
            CanId::Standard(id) => (u32::from(id), STANDARD_MASK),
            CanId::Extended(id) => (id | EXTENDED, EXTENDED_MASK),
        };
        Self { id, mask: (bits & !pattern.any) | EXTENDED | REMOTE }
    }

    /// The narrowest filter that lets both in.
    fn with(self, other: Self) -> Self {
        let mask = self.mask & other.mask & !(self.id ^ other.id);
        Self { id: self.id & mask, mask }
    }

    /// Identifiers that it lets in.
    fn size(self) -> u64 {
        let bits = if self.id & EXTENDED == 0 { STANDARD_MASK } else { EXTENDED_MASK };
        1 << (bits & !self.mask).count_ones()
    }

    /// What sharing a filter lets in besides; standard and extended ones never share.
    fn cost(self, other: Self) -> Option<u64> {
        let same_width = (self.id ^ other.id) & EXTENDED == 0;
        same_width.then(|| self.with(other).size().saturating_sub(self.size() + other.size()))
    }
}

/// At most [`BUS_FILTERS_MAX`] filters that let all of `patterns` in, and no remote frame.
pub(super) fn filters(patterns: &[IdPattern]) -> Vec<Filter> {
    let mut filters: Vec<Filter> = patterns.iter().copied().map(Filter::of).collect();
    filters.sort_unstable();
    filters.dedup();
    while filters.len() > BUS_FILTERS_MAX {
        let too_many = filters.len() - BUS_FILTERS_MAX;
        filters = share(&filters, too_many);
    }
    filters
}

/// Neighbours share where that costs least, half of the pairs that are too many at a time: what shares now may share
/// again in the next round.
fn share(filters: &[Filter], too_many: usize) -> Vec<Filter> {
    let pairs = filters.windows(2).enumerate();
    let mut costs: Vec<(u64, usize)> =
        pairs.filter_map(|(at, pair)| Some((pair[0].cost(pair[1])?, at))).collect();
    costs.sort_unstable();
    let mut with_next = vec![false; filters.len() + 1];
    let mut shared = 0;
    for (_, at) in costs {
        let free = !with_next[at] && !with_next[at + 1] && (at == 0 || !with_next[at - 1]);
        if free {
            with_next[at] = true;
            shared += 1;
            if shared * 2 >= too_many {
                break;
            }
        }
    }
    let mut fewer = Vec::with_capacity(filters.len());
    let mut at = 0;
    while at < filters.len() {
        if with_next[at] {
            fewer.push(filters[at].with(filters[at + 1]));
            at += 1;
        } else {
            fewer.push(filters[at]);
        }
        at += 1;
    }
    fewer
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use glovebox_core::decode::j1939::Pgn;
    use proptest::prelude::*;

    /// Written after `can_rcv_filter` of the kernel, not after the code above.
    fn passes(filters: &[Filter], received: u32) -> bool {
        filters.iter().any(|filter| received & filter.mask == filter.id & filter.mask)
    }

    fn on_the_bus(id: CanId) -> u32 {
        match id {
            CanId::Standard(id) => u32::from(id),
            CanId::Extended(id) => id | 0x8000_0000,
        }
    }

    fn any_id() -> impl Strategy<Value = CanId> {
        prop_oneof![
            (0_u16..0x800).prop_map(CanId::Standard),
            (0_u32..0x2000_0000).prop_map(CanId::Extended),
            (0x18FE_0000_u32..0x18FF_0000).prop_map(CanId::Extended),
        ]
    }

    /// Single identifiers, and groups of J1939.
    fn any_pattern() -> impl Strategy<Value = IdPattern> {
        prop_oneof![
            4 => any_id().prop_map(IdPattern::exact),
            1 => (0_u32..0x4_0000).prop_map(|pgn| Pgn(pgn).pattern()),
        ]
    }

    fn exact(ids: &[CanId]) -> Vec<IdPattern> {
        ids.iter().copied().map(IdPattern::exact).collect()
    }

    proptest! {
        #[test]
        fn invariant_6_all_that_is_needed_passes_and_little_else(
            patterns in proptest::collection::vec(any_pattern(), 0..1_500),
            others in proptest::collection::vec(any_id(), 50),
            free in any::<u32>(),
        ) {
            let filters = filters(&patterns);
            prop_assert!(filters.len() <= BUS_FILTERS_MAX);
            for pattern in &patterns {
                let id = match pattern.id {
                    CanId::Standard(id) => CanId::Standard(id),
                    CanId::Extended(id) => CanId::Extended(id | (free & pattern.any)),
                };
                prop_assert!(passes(&filters, on_the_bus(id)));
                prop_assert!(!passes(&filters, on_the_bus(id) | 0x4000_0000), "a remote frame");
                prop_assert!(!passes(&filters, on_the_bus(id) ^ 0x8000_0000) || patterns.len() > 1);
            }
            let mut different = patterns.clone();
            different.sort_unstable();
            different.dedup();
            if different.len() <= BUS_FILTERS_MAX {
                for other in others {
                    let needed = patterns.iter().any(|pattern| pattern.matches(other));
                    prop_assert_eq!(passes(&filters, on_the_bus(other)), needed);
                }
            }
        }
    }

    #[test]
    fn no_identifier_needed_means_no_filter_and_no_frame() {
        assert!(filters(&[]).is_empty());
    }

    #[test]
    fn whole_blocks_share_a_mask_without_letting_more_in() {
        let ids: Vec<CanId> = (0..0x400).map(CanId::Standard).collect();
        let filters = filters(&exact(&ids));
        assert!(filters.len() <= BUS_FILTERS_MAX);
        let passed = (0..0x800).filter(|id| passes(&filters, *id)).count();
        assert_eq!(passed, 0x400);
    }

    #[test]
    fn too_many_scattered_ones_let_in_as_little_as_can_be() {
        // Every third of 11 bits: 683, 171 too many. Two that are three apart share with two foreign ones at least.
        let ids: Vec<CanId> = (0..0x800).step_by(3).map(CanId::Standard).collect();
        let filters = filters(&exact(&ids));
        let passed = (0..0x800_u32).filter(|id| passes(&filters, *id)).count();
        assert!(filters.len() <= BUS_FILTERS_MAX && passed <= ids.len() + 2 * 171, "{passed}");
        let last = ids.last().copied().unwrap();
        assert!(passes(&filters, on_the_bus(last)));
    }
}
