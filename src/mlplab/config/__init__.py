"""Composes and checks the configuration, without heavy imports."""
