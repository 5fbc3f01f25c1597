"""The inputs of a merge: files of checkpoints and adapters become tensors that match each other."""
