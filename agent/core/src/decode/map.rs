//! Kuksa mapping files: VSS names of DBC signals.
