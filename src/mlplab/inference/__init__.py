"""Predicts, evaluates, explains and exports trained runs, from a checkpoint alone."""
