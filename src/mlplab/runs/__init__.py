"""What a run leaves behind: its directory, manifest, status, result and checkpoints."""
