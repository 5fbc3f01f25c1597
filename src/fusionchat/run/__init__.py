"""Which jobs are done or stale, and which process on which machine makes the others."""
