"""Compares published figures with those that the recipes of conf/experiment/published/ reach."""
