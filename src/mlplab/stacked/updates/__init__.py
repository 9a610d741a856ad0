"""The updates of K networks at once, each by its own options and with its own state."""
