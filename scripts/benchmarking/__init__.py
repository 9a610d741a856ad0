"""The parts of scripts/benchmark.py: what is trained, by whom, and how it is told."""
