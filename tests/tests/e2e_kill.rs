//! Fifty lives ended by SIGKILL.
