"""Computes stacked networks and their losses, with gradients."""
