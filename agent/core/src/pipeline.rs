//! Joins decode, consent and batch: frames in, closed batches out.
