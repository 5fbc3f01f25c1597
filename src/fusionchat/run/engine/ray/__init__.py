"""The Ray engine: jobs as Ray tasks, pools of actors for captures and evaluations.

Each rank of a training is an actor.
"""
