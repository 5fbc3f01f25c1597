"""The store: distributions in small files with checksums, looked up by conversation."""
