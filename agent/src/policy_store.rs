//! Documents on disk, and the counters that only rise.
