//! The real agent, a real Mosquitto with mutual TLS, real recipients: what they promise together, end to end.

mod around_an_event;
mod bad_input;
mod derived;
mod disk;
mod erasure;
mod first_start;
mod folder;
mod ledger;
mod nothing_granted;
mod nothing_leaks;
mod only_when;
mod pause;
mod three_recipients;
mod time;
mod tls;
mod uplink;
