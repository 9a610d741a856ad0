"""The command lines of train.py and of the scripts."""
