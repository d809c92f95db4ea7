//! Order, quota, what to drop, what to purge.
