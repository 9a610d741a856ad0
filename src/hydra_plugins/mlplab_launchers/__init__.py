"""Launchers by which Hydra finds mlplab's ways to run jobs; the work is done in mlplab.sweeps."""
