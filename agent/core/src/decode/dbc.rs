//! DBC text to a database.
