//! Keys on disk: the alias secret, the record key, the enrolled owners, the pinned root.
