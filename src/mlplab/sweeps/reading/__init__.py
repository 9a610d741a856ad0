"""Reading of sweeps: what their jobs left, as plain values, and the ranking of their settings. Imports no PyTorch."""
