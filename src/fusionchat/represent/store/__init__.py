"""The store: distributions of conversations in small files with checksums.

They are looked up by conversation.
"""
