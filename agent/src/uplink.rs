//! TLS and MQTT: transport only.
