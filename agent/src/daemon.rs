//! Tasks, bounded channels, order of start and stop: the one file that joins stages.

pub mod authority;
