"""Files of checkpoints and adapters become tensors that fit each other."""
