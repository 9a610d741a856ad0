"""Stacked networks and their losses, with gradients."""
