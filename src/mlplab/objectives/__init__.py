"""Losses and penalties, which training minimises, and the scores that evaluate a network."""
