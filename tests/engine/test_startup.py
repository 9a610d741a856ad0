"""What is postponed is not imported by a run, and is there, once and whole, for whoever wants it."""

import subprocess
import sys
from pathlib import Path

import pytest

POSTPONED = ("scipy.stats", "matplotlib", "torch._dynamo.eval_frame", "torch._inductor.utils", "sympy")


def run(code: str) -> str:
    """What a Python of its own prints, in which Lightning has been imported quickly."""
    quickly = "from mlplab.engine.startup import quick_imports\nwith quick_imports():\n    import lightning.pytorch\n"
    done = subprocess.run([sys.executable, "-c", quickly + code], check=True, capture_output=True, text=True)
    assert done.stderr == ""
    return done.stdout


def test_a_run_imports_no_compiler_no_plots_and_no_signals(tmp_path: Path) -> None:
    code = f"""
import os, runpy, sys
sys.argv = ["train.py", "trainer.max_epochs=1", "~callbacks.figures", "hydra.run.dir={tmp_path}"]
os._exit = lambda status: print(status, [name for name in {POSTPONED!r} if name in sys.modules])
runpy.run_path("train.py", run_name="__main__")
"""
    assert run(code).endswith("0 []\n")


SIGNALS = [
    pytest.param("import scipy.signal.windows as w; w.hann(3)", marks=pytest.mark.slow),
    "from scipy.signal import hamming; assert len(hamming(5)) == 5",
    pytest.param("from scipy.signal import lfilter", marks=pytest.mark.slow),
    pytest.param("import scipy.signal", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("code", SIGNALS)
def test_signals_come_to_whoever_wants_them(code: str) -> None:
    run(f"{code}\nimport scipy.signal\nassert scipy.signal.hilbert([1.0, 0.0]).shape == (2,)")


COMPILERS = [
    "import torch._dynamo.config as c; c.cache_size_limit",
    *(
        pytest.param(code, marks=pytest.mark.slow)
        for code in (
            "import torch._inductor.config as c; c.max_autotune",
            "import torch._inductor.config as c; c.epilogue_fusion = False; c.epilogue_fusion = True",
            "from torch._dynamo.utils import counters",
            "from torch._inductor import config; config.max_autotune",
            "import torch; torch._dynamo.reset()",
            "import torch; torch.compile(lambda x: x + 1, backend='eager')(torch.ones(1))",
            "import torch; torch.export.export(torch.nn.Linear(1, 1), (torch.ones(1, 1),))",
        )
    ),
]


@pytest.mark.parametrize("code", COMPILERS)
def test_the_compiler_comes_once_and_whole_to_whoever_wants_it(code: str) -> None:
    once = """
import sys, torch, torch._dynamo.config, torch._inductor.config, torch._dynamo.utils
from mlplab.engine.startup import Postponed
assert not any(isinstance(module, Postponed) and "torch._" in name for name, module in sys.modules.items())
assert torch._dynamo.config is sys.modules["torch._dynamo.config"] is torch._dynamo.eval_frame.config
assert torch._inductor.config.max_autotune is False
assert torch._dynamo.config.__spec__.origin.endswith("config.py")
"""
    run(code + once)


def test_what_is_set_in_it_is_set_there() -> None:
    code = """
import torch._inductor.config as settings
settings.epilogue_fusion = False
import torch._inductor.config as later
print(type(later).__name__, later.epilogue_fusion)
"""
    assert run(code).split() == ["ConfigModuleInstance", "False"]


@pytest.mark.slow
def test_a_missing_module_of_the_compiler_is_told_as_by_python() -> None:
    code = """
from importlib.util import find_spec
assert find_spec("torch._dynamo.config").origin.endswith("config.py")
assert find_spec("torch._dynamo.nowhere") is None
try:
    import torch._dynamo.nowhere
except ModuleNotFoundError as error:
    print(error)
"""
    assert run(code) == "No module named 'torch._dynamo.nowhere'\n"


def test_what_is_compiled_is_known_as_such() -> None:
    code = """
import torch
from lightning.fabric.wrappers import _unwrap_compiled, OptimizedModule
net = torch.nn.Linear(1, 1)
print(isinstance(net, OptimizedModule))
compiled = torch.compile(net, backend="eager")
print(isinstance(compiled, OptimizedModule), isinstance(net, OptimizedModule), _unwrap_compiled(compiled)[0] is net)
"""
    assert run(code).split() == ["False", "True", "False", "True"]


@pytest.mark.slow
def test_the_compiler_is_told_whether_operations_must_be_deterministic() -> None:
    code = """
import torch
torch.use_deterministic_algorithms(True)
import torch._inductor.config as settings
print(type(settings).__name__)
import torch._dynamo.utils
import torch._inductor.config as settings
print(settings.deterministic)
"""
    assert run(code).split() == ["Dynamo", "True"]


def test_the_compiler_leaves_alone_what_it_is_told_to() -> None:
    """Before it has come: functions of the user's, of PyTorch, and an optimizer's."""
    code = """
import torch

@torch.compiler.disable
def alone(x):
    return x + (1 if torch.compiler.is_compiling() else 0)

@torch._disable_dynamo
def own(x):
    return x + (1 if torch.compiler.is_compiling() else 0)

@torch._dynamo.disable(recursive=False)
def called(x):
    return x + (1 if torch.compiler.is_compiling() else 0)

print(own(torch.zeros(1)).item(), alone(torch.zeros(1)).item(), alone.__name__)

@torch.compile(backend="eager")
def compiled(x):
    return own(alone(called(x))) + (10 if torch.compiler.is_compiling() else 0)

print(compiled(torch.zeros(1)).item())
optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(1))]})
print(len(optimizer.param_groups))
"""
    assert run(code).split() == ["0.0", "0.0", "alone", "10.0", "2"]


@pytest.mark.slow
def test_metrics_can_be_plotted() -> None:
    code = """
import torch
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix
accuracy = MulticlassAccuracy(num_classes=2)
accuracy.update(torch.tensor([0, 1]), torch.tensor([0, 1]))
figure, axes = accuracy.plot()
print(type(figure).__name__)
matrix = MulticlassConfusionMatrix(num_classes=2)
matrix.update(torch.tensor([0, 1]), torch.tensor([0, 1]))
print(type(matrix.plot()[0]).__name__)
from torchmetrics.utilities.plot import trim_axs
print(trim_axs.__name__)
"""
    assert run(code).split() == ["Figure", "Figure", "trim_axs"]


WAYS = [
    "import package.inner",
    "import package.inner as i; assert i.runs == 1",
    "from package import inner",
    "from package.inner import runs",
    "import package.outer.deep",
    "from package.outer import deep",
    "import package; package.value",
    "import package; package.inner",
    "import package; package.value = 5; assert package.value == 5; package.value = 1",
    "import importlib.util as u; assert u.find_spec('package.inner').origin.endswith('inner.py')",
    "import importlib.util as u; assert u.find_spec('package.nowhere') is None",
    "import importlib; importlib.import_module('package.inner')",
]


@pytest.mark.parametrize("way", WAYS)
def test_whatever_is_wanted_of_a_package_it_is_executed_once(way: str, tmp_path: Path) -> None:
    """Its modules import each other, as those of PyTorch's compiler do."""
    for name, text in {
        "__init__": "import builtins\nbuiltins.seen = []\nfrom package import inner\nvalue = 1\n",
        "inner": "import builtins\nseen.append(__name__)\nruns = seen.count(__name__)\nimport package.outer\n",
        "outer/__init__": "seen.append(__name__)\n",
        "outer/deep": "seen.append(__name__)\nimport package.inner\n",
    }.items():
        path = tmp_path / "package" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    code = f"""
import sys
from mlplab.engine.startup import Postponed, _Within
sys.path.insert(0, {str(tmp_path)!r})
sys.meta_path.insert(0, _Within())
group = {{}}
sys.modules["package"] = Postponed("package", group, known=3)
sys.modules["package.outer"] = Postponed("package.outer", group)
import package
assert package.known == 3 and not hasattr(sys.modules["builtins"], "seen")
{way}
import package.inner, package.outer.deep
assert package.value == 1 and package.inner is sys.modules["package.inner"]
assert all(type(sys.modules[name]).__name__ == "module" for name in sys.modules if name.startswith("package"))
assert package.inner.__spec__.origin.endswith("inner.py")
assert "find_spec" in {way!r} or type(package.inner.__spec__.loader).__name__ == "SourceFileLoader"
assert sorted(seen) == ["package.inner", "package.outer", "package.outer.deep"], seen
"""
    subprocess.run([sys.executable, "-c", code], check=True)
