"""Files of a run: its directory, status, manifest, signature and checkpoints."""
