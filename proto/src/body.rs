//! Body of a seal: `u32 LE length of frame ‖ zstd frame ‖ zeros`, padded to a Padmé length.
