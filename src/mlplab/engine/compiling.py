"""Compiles a network with torch.compile, before the first step."""

import time

import torch
from torch import Tensor, nn

from mlplab.errors import UserError


def compile_network(model: nn.Module, rows: Tensor) -> float:
    """Compiles a network in place; its parameters keep their names. Returns the seconds that it took.

    Args:
        model: (B, F) -> (B, C).
        rows: a batch as in training. On the CPU it is passed through at once, to find errors of the compiler before the
            run. For a GPU, the first step compiles.

    Raises:
        UserError: no compiler is installed, or the network cannot be compiled.
    """
    began = time.perf_counter()
    # In place: `torch.compile(model)` would wrap the network, and put `_orig_mod.` before the names in checkpoints.
    model.compile()
    if torch.cuda.is_available() or torch.backends.mps.is_available():
        return time.perf_counter() - began
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    try:
        # Dropout in this trial must not advance the generator, or the run would draw other masks.
        with torch.random.fork_rng(devices=[]):
            # Backward too, as it is compiled only when first called.
            model.train()(rows).sum().backward()
    except Exception as error:
        # The compiler wraps the error that explains the failure.
        cause = getattr(error, "inner_exception", error)
        message = str(cause).strip() or type(cause).__name__
        raise UserError(
            "model.compile=true must find a C++ compiler, and a network that torch.compile takes",
            message.splitlines()[0],
            "model.compile=false",
        ) from error
    finally:
        # The trial's gradients must not be added to those of the first step.
        model.zero_grad(set_to_none=True)
        with torch.no_grad():
            for name, value in model.named_buffers():  # normalisation has seen these rows
                value.copy_(buffers[name])
    return time.perf_counter() - began
