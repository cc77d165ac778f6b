"""Measures the time that the platform takes: `bin/benchmark`. Values that are compared are measured
alternately in one run, in a separate sandbox; their ratios are what counts."""
