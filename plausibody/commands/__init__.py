"""The commands, in groups; `plausibody.cli` joins them."""
