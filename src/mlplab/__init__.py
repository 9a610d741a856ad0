"""Train, compare and understand multilayer perceptrons.

Nothing heavy is imported here: `python train.py --help` must answer at once.
"""

__version__ = "0.5.0"
