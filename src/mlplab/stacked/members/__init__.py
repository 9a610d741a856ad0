"""Members of a stack: ordinary runs whose networks a single Trainer trains together."""
