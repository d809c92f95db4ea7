//! Where frames come from: recorded logs now, SocketCAN next.
