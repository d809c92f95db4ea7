//! The control socket: what the commands say to a running daemon.
