//! Routes documents and commands; the ratchet; a refusal has its reason.
