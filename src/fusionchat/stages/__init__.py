"""The stages: each reads artifacts, calls pure code and writes artifacts."""
