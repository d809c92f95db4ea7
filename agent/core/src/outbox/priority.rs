//! How urgent the batches of a flow are.

/// The class of a flow. A higher one is sent first, and dropped last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Priority {
    /// May wait.
    Bulk,
    /// What nothing is said of.
    #[default]
    Normal,
    /// Must not wait.
    Urgent,
}
