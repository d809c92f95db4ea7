//! Column coding, both ways.
