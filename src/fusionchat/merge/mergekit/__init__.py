"""mergekit's YAML files."""
