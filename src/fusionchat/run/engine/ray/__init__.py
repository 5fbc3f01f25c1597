"""The Ray engine: jobs as Ray tasks, captures and evaluations by pools of actors, ranks of a training by an actor each."""
