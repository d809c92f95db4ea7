//! Connection states, back-off, in-flight window, acknowledgement to sequence.
