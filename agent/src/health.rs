//! What the service manager and a person are told.
