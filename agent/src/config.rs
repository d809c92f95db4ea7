//! TOML to a checked configuration: all faults at once, each with its place.
