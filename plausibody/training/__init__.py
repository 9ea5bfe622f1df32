"""Training runs: from a configuration to weights, through every kind of stop."""
