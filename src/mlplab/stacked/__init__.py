"""Trains many small networks of one shape at once."""
