"""Makes training fast and resumable; `attach` is the only door from the rooms."""
