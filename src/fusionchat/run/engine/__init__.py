"""Engines: what carries jobs to processes and machines, and nothing else."""
