//! Topics, labels, ids and signed bytes.
