"""One configuration for every command: options with types, bounds and documentation; YAML and `--set`; a description of all."""
