//! A real broker and real certificates for the uplink's tests.

pub(crate) mod broker;
pub(crate) mod certs;
pub(crate) mod driver;
