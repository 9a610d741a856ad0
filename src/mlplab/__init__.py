"""Train, compare and understand multilayer perceptrons.

Nothing heavy is imported here: `python train.py --help` must answer at once.
"""

from mlplab.processors import let_waiting_threads_sleep

__version__ = "0.5.0"

let_waiting_threads_sleep()
