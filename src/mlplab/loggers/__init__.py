"""Loggers for TensorBoard and CSV that a resumed run continues."""
