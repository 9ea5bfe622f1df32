"""Metrics, protocols, benchmarks and their tables."""
