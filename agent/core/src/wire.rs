//! Domain to protobuf and back; the only file of the core that knows prost.
