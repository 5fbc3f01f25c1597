"""vLLM in an environment of its own: `in_vllm` runs there, `worker` starts it from here."""
