"""After training: predicting, evaluating and exporting, from a checkpoint alone."""
