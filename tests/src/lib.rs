//! Test harness of Glovebox: what the tests that stand outside the product share. Every child is killed when it is
//! dropped, every wait has a limit.

pub mod agent;
pub mod broker;
pub mod calls;
pub mod certs;
pub mod disk;
pub mod fleet;
pub mod foreign;
pub mod forge;
pub mod imports;
pub mod leak;
pub mod need;
pub mod oracle;
pub mod parties;
pub mod process;
pub mod proxy;
pub mod random;
pub mod recipient;
pub mod scene;
pub mod seeded;
pub mod source;
pub mod stage;
pub mod tables;
pub mod tally;
pub mod traffic;
pub mod vcan;
