"""Makes training fast and resumable. Rooms use `attach`; safe points are in `resumable_loops`, imports in `startup`."""
