"""The store: distributions of conversations in small files, looked up by conversation, with a checksum per block."""
