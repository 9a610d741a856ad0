"""Sweeps: which jobs there are and which are done, searches, and what was learned."""
