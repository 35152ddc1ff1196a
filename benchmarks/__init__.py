"""Speed and memory, measured pairwise in one process: `python -m benchmarks`."""
