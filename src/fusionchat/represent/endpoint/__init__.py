"""Talking to a server that scores prompts: `vllm serve`, or one that answers as it does."""
