"""torch.compile: the same learning but for rounding, or one line that says why not."""

import shutil
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import nn

from mlplab.engine.compiling import compile_network
from mlplab.errors import UserError
from mlplab.models import MLP

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")


def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Traces as torch.compile does, and computes without a compiler: quick, and everywhere."""
    compile_module = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda self: compile_module(self, backend="eager"))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "is_traced_only", [True, pytest.param(False, marks=needs_compiler)], ids=["traced", "compiled"]
)
@pytest.mark.slow
def test_a_compiled_run_learns_the_same_and_its_time_is_counted(
    train_run: Any, monkeypatch: pytest.MonkeyPatch, *, is_traced_only: bool
) -> None:
    if is_traced_only:
        eager(monkeypatch)
    quick = ["data=iris", "trainer.max_epochs=3", "callbacks=minimal", "logger=none", "model.dropout=0"]
    # Other processes to compile in would each import PyTorch first. By its own `patch`, as monkeypatch would delete the
    # option afterwards.
    with import_module("torch._inductor.config").patch(compile_threads=1):
        plain, compiled = train_run(*quick), train_run(*quick, "model.compile=true")
    weights = [torch.load(r.directory / "checkpoints" / "last.ckpt", weights_only=True) for r in (plain, compiled)]
    for name, value in weights[0]["state_dict"].items():
        assert torch.allclose(weights[1]["state_dict"][name], value, atol=1e-5), name
    assert weights[0]["card"]["model"] == weights[1]["card"]["model"]
    assert compiled.status["seconds"]["compile"] > 0
    assert "compile" not in plain.status["seconds"]


@pytest.mark.filterwarnings("ignore")
def test_compiling_leaves_the_network_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    eager(monkeypatch)
    model = MLP(in_features=3, out_features=2, hidden_dims=[4], normalization="batch", dropout=0.5)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    assert compile_network(model, torch.randn(8, 3, generator=torch.Generator())) > 0
    assert torch.equal(torch.get_rng_state(), random)
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.filterwarnings("ignore")
def test_where_it_cannot_work_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_compiler(*_: Any) -> Any:
        raise RuntimeError("no compiler here")

    compile_module = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda self: compile_module(self, backend=no_compiler))
    model = MLP(in_features=3, out_features=2, hidden_dims=[4])
    with pytest.raises(UserError, match=r"model.compile=true must find a C\+\+ compiler.*no compiler here"):
        compile_network(model, torch.randn(8, 3))
