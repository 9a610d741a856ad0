"""Pictures of what a network has learned, one file for each kind."""
