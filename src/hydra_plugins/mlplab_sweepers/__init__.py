"""Sweepers by which Hydra finds mlplab's sweeps; the work is done in mlplab.sweeps."""
