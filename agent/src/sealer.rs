//! HPKE, alias keys, signatures: the cryptography that the core is given.
