"""The client of a server that scores prompts: `vllm serve`, or a compatible one."""
