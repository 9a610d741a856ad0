"""Searching for good values with Optuna."""
