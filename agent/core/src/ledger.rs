//! Entries, hash chain, checkpoint.
