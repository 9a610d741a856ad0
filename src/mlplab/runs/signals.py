"""The signals that ask a process to end, and that a run answers by saving. Imports nothing heavy."""

import signal

HANDLED = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
"""Ctrl-C, a termination and a closed terminal."""
