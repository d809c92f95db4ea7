//! Real brokers, a scripted one, a proxy between, and real certificates for the uplink's tests.

pub(crate) mod broker;
pub(crate) mod certs;
pub(crate) mod driver;
pub(crate) mod proxy;
pub(crate) mod scripted;
