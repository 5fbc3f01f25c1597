"""The recipe: one YAML file, read into frozen settings."""
