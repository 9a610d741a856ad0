"""Composing and checking the configuration, without anything heavy."""
