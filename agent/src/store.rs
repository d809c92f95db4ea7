//! sled with the guards that make it durable: the only file that knows sled.

pub mod files;
