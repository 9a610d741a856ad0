"""What a run does not need is not imported by it, and is there, once and whole, for whoever wants it."""

import ast
import gc
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from slow_cases import slow

from mlplab.engine import startup

LATER = ("scipy.stats", "matplotlib", "torch._dynamo.eval_frame", "torch._inductor.utils", "sympy")


STARTER = """
import json, os, sys, traceback
from mlplab.engine.startup import quick_imports
with quick_imports():
    import lightning.pytorch

leave = os._exit
for line in sys.stdin:
    folder, code = json.loads(line)
    process = os.fork()
    if process == 0:
        for descriptor, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(os.path.join(folder, name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), descriptor)
        status = 0
        try:
            exec(compile(code, "<test>", "exec"), {"__name__": "__main__"})
        except BaseException:
            traceback.print_exc()
            status = 1
        sys.stdout.flush()
        sys.stderr.flush()
        leave(status)
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
"""
"""Imports Lightning quickly, once, and is forked for each test, which finds what it wants not yet imported."""

Run = Callable[[str], str]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """What a Python of its own prints, in which Lightning has been imported quickly."""
    folder = tmp_path_factory.mktemp("forked")
    with subprocess.Popen(
        [sys.executable, "-c", STARTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as starter:

        def execute(code: str) -> str:
            assert starter.stdin is not None
            assert starter.stdout is not None
            starter.stdin.write(json.dumps([str(folder), code]) + "\n")
            starter.stdin.flush()
            status = starter.stdout.readline()
            output, errors = ((folder / name).read_text() for name in ("out", "err"))
            assert (status, errors) == ("0\n", "")
            return output

        yield execute


MACHINERY = ("engine", "stacked", "runs", "loggers", "inference", "sweeps", "report", "config", "cli")

FRAMEWORKS = ("mlplab", "torch", "lightning", "torchmetrics")
"""Packages whose imports `quick_imports` makes shorter."""


def imported_by_rooms(loaded: list[str]) -> set[str]:
    """What the loaded modules of the rooms import at their beginning, beside the frameworks."""
    found = set()
    for name in loaded:
        _, *parts = name.split(".")
        path = Path(startup.__file__).parents[1].joinpath(*parts)
        source = next((p for p in (path.with_suffix(".py"), path / "__init__.py") if p.is_file()), None)
        if source is None or (parts and parts[0] in MACHINERY):
            continue
        for node in ast.parse(source.read_text(encoding="utf-8")).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            found |= {one for one in names if one.partition(".")[0] not in FRAMEWORKS}
    return found


def test_a_run_imports_no_compiler_no_plots_and_no_signals(run: Run, tmp_path: Path) -> None:
    code = f"""
import json, os, runpy, sys
sys.argv = ["train.py", "trainer.max_epochs=1", "~callbacks.figures", "hydra.run.dir={tmp_path}"]
def leave(status):
    own = [name for name in sys.modules if name.startswith("mlplab")]
    print(json.dumps([status, [name for name in {LATER!r} if name in sys.modules], own]))
os._exit = leave
runpy.run_path("train.py", run_name="__main__")
"""
    status, heavy, loaded = json.loads(run(code).splitlines()[-1])
    # Somebody may import scikit-learn in a room, which takes its second then.
    wanted = run(f"""
import importlib, sys
for name in {sorted(imported_by_rooms(loaded))!r}:
    importlib.import_module(name)
print(*(name for name in {LATER!r} if name in sys.modules))
""").split()
    assert "mlplab.learner" in loaded
    assert (status, set(heavy) - set(wanted)) == (0, set())


def plain_and_quick(tmp_path: Path, *words: str) -> list[Path]:
    """Trains with plain imports and with quick ones; returns the directories of both, or of the jobs."""
    for name in ("plain", "quick"):
        quick = [
            "data=wine",
            "trainer.max_epochs=2",
            "callbacks=minimal",
            "logger=none",
            f"paths.logs={tmp_path / name}",
        ]
        environment = {**os.environ, "MLPLAB_PLAIN_IMPORTS": "1" if name == "plain" else "0"}
        subprocess.run([sys.executable, "train.py", *quick, *words], check=True, capture_output=True, env=environment)
    return [next((tmp_path / name).rglob("result.json")).parent for name in ("plain", "quick")]


@pytest.mark.slow
@pytest.mark.parametrize("words", [[], ["-m", "seed=0", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]])
def test_plain_imports_end_with_the_same(tmp_path: Path, words: list[str]) -> None:
    plain, quick = (json.loads((path / "result.json").read_text()) for path in plain_and_quick(tmp_path, *words))
    assert plain == quick


PLAIN = """
import gc, sys
from mlplab.engine.startup import REPLACED, quick_imports
with quick_imports():
    import lightning.pytorch, torchmetrics, torch.optim
    print(gc.isenabled())
torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
finders = [finder for finder in sys.meta_path if "mlplab" in type(finder).__module__]
types = {type(sys.modules[name]).__name__ for name in REPLACED if name in sys.modules}
print(types <= {"module", "ConfigModuleInstance"} and "torch._dynamo" in sys.modules and not finders)
print(gc.get_freeze_count() == 0)
"""


@pytest.mark.slow
def test_with_plain_imports_all_modules_are_genuine() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PLAIN], check=True, capture_output=True, text=True,
        env={**os.environ, "MLPLAB_PLAIN_IMPORTS": "1"},
    )  # fmt: skip
    assert done.stdout.split() == ["True", "True", "True"]


@pytest.mark.parametrize(("package", "version"), [("torch", "2.14.0+cpu"), ("torchmetrics", "1.10.0"), ("scipy", None)])
def test_with_another_version_nothing_is_replaced(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, package: str, version: str | None
) -> None:
    original = startup.metadata.version

    def other(name: str) -> str:
        if name != package:
            return original(name)
        if version is None:
            raise startup.metadata.PackageNotFoundError(name)
        return version

    unreplaced(monkeypatch)
    monkeypatch.setattr(startup.metadata, "version", other)
    with caplog.at_level("DEBUG", "mlplab"), startup.quick_imports():
        assert not gc.isenabled()
    assert not startup.REPLACED & sys.modules.keys()
    assert not any(isinstance(finder, startup._SubmoduleFinder) for finder in sys.meta_path)
    assert caplog.messages == [f"plain imports: this version of {package} has no tested stand-ins"]


def unreplaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the process one in which nothing heavy has been imported."""
    finders = [finder for finder in sys.meta_path if not isinstance(finder, startup._SubmoduleFinder)]
    monkeypatch.setattr(sys, "meta_path", finders)
    monkeypatch.setattr(sys, "modules", {k: m for k, m in sys.modules.items() if k not in startup.REPLACED})


def test_with_the_tested_versions_it_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control, and that the locked versions are the tested ones."""
    unreplaced(monkeypatch)
    with startup.quick_imports():
        pass
    assert all(isinstance(sys.modules[name], startup.LazyModule) for name in startup.REPLACED)


def test_where_one_has_been_imported_before_nothing_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    unreplaced(monkeypatch)
    sys.modules["torch._dynamo"] = sys
    with startup.quick_imports():
        pass
    assert not startup.REPLACED & {name for name, module in sys.modules.items() if module is not sys}


SIGNALS = [
    "import scipy.signal.windows as w; w.hann(3)",
    "from scipy.signal import hamming; assert len(hamming(5)) == 5",
]


@pytest.mark.slow
@pytest.mark.parametrize("code", SIGNALS)
def test_signals_come_to_whoever_wants_them(run: Run, code: str) -> None:
    run(f"{code}\nimport scipy.signal\nassert scipy.signal.hilbert([1.0, 0.0]).shape == (2,)")


COMPILERS = [
    "import torch._dynamo.config as c; c.cache_size_limit",
    "from torch._inductor import config; config.max_autotune",
    "import torch; torch.export.export(torch.nn.Linear(1, 1), (torch.ones(1, 1),))",
]


@pytest.mark.slow
@pytest.mark.parametrize("code", COMPILERS)
def test_the_compiler_comes_once_and_whole_to_whoever_wants_it(run: Run, code: str) -> None:
    once = """
import sys, torch, torch._dynamo.config, torch._inductor.config, torch._dynamo.utils
from mlplab.engine.startup import LazyModule
assert not any(isinstance(module, LazyModule) and "torch._" in name for name, module in sys.modules.items())
assert torch._dynamo.config is sys.modules["torch._dynamo.config"] is torch._dynamo.eval_frame.config
assert torch._inductor.config.max_autotune is False
assert torch._dynamo.config.__spec__.origin.endswith("config.py")
"""
    run(code + once)


@pytest.mark.slow
def test_a_missing_module_of_the_compiler_is_told_as_by_python(run: Run) -> None:
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


@pytest.mark.slow
def test_what_is_compiled_is_known_as_such(run: Run) -> None:
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
def test_the_compiler_is_told_whether_operations_must_be_deterministic(run: Run) -> None:
    code = """
import torch
torch.use_deterministic_algorithms(True)
import torch._inductor.config as settings
print(type(settings).__name__)
import torch._dynamo.utils
import torch._inductor.config as settings
print(settings.deterministic)
"""
    assert run(code).split() == ["LazyModule", "True"]


@pytest.mark.slow
def test_the_compiler_leaves_alone_what_it_is_told_to(run: Run) -> None:
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
def test_metrics_can_be_plotted(run: Run) -> None:
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
    "import package.inner as i; assert i.runs == 1",
    "from package import inner",
    "from package.outer import deep",
    "import package; package.value = 5; assert package.value == 5; package.value = 1",
    "import importlib.util as u; assert u.find_spec('package.inner').origin.endswith('inner.py')",
    "import importlib.util as u; assert u.find_spec('package.nowhere') is None",
]


@pytest.mark.parametrize("way", [WAYS[0], *slow(*WAYS[1:])])
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
from mlplab.engine.startup import LazyModule, _SubmoduleFinder
sys.path.insert(0, {str(tmp_path)!r})
sys.meta_path.insert(0, _SubmoduleFinder())
group = {{}}
sys.modules["package"] = LazyModule("package", group, lambda: None, known=3)
sys.modules["package.outer"] = LazyModule("package.outer", group, lambda: None)
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


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="no signal can be held back on this system")
def test_a_signal_waits_for_the_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLPLAB_PLAIN_IMPORTS", "1")
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    try:
        with startup.quick_imports():
            signal.raise_signal(signal.SIGTERM)  # to this thread; others of the test process would take it
            assert received == []
        assert received == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)
