//! The only reader of the clock.
