"""Correctness on an accelerator; without one the same tests run on the CPU, with small sizes."""
