//! The agent: everything that does I/O. The pure half is `glovebox-core`; `daemon` joins the stages.

pub mod bus;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod daemon;
pub mod health;
pub mod key_store;
pub mod ledger;
pub mod notice_store;
pub mod outbox;
pub mod policy_folder;
pub mod policy_store;
pub mod sealer;
pub mod store;
pub mod uplink;
