"""Engines bring jobs to processes and machines, and do nothing else."""
