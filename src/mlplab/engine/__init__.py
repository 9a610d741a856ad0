"""Makes training fast and resumable. Enter by `attach`; safe points are in `resumable_loops`, imports in `startup`."""
