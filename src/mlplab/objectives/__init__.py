"""What training makes small: losses and penalties; and the scores by which the result is judged."""
