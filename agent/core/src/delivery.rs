//! Joins outbox, gate, uplink and ledger: what may be sent now, what an acknowledgement or a withdrawal means.
