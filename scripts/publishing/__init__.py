"""What was published on a data set, and the recipe that is to reach it."""
