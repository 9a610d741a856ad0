"""The lessons: their pages say what was computed, quote the code as it stands, and are the same each time."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from launching import Signal, run_program

from mlplab.errors import RunFailed
from mlplab.models import MLP
from mlplab.objectives.losses import mse

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from teaching import LESSONS, pages  # scripts/ is no package of the project
from teaching.batch_sizes import gradient_noise
from teaching.optimizers import START, STEEP, walk

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "lessons"
NUMBERS = json.loads((FOLDER / "numbers.json").read_text(encoding="utf-8"))
TEXTS = {name: (FOLDER / f"{name}.md").read_text(encoding="utf-8") for name in (*LESSONS, "README")}


@pytest.mark.parametrize("name", TEXTS)
def test_a_page_is_its_template_with_the_numbers_and_the_code_as_they_are(name: str) -> None:
    """Which also asks whether each of its statements holds. After a change of code that it quotes: `make lessons`."""
    assert pages.render(name, NUMBERS.get(name, {})) == TEXTS[name]


@pytest.mark.parametrize("name", LESSONS)
def test_a_page_has_what_a_lesson_needs(name: str) -> None:
    text = TEXTS[name]
    for part in ("What to see", "## The code", "```python", "```bash\npython train.py", "](figures/"):
        assert part in text, part
    for alt, figure in re.findall(r"!\[(.*?)\]\((.*?)\)", text):
        assert len(alt) > 60, figure
        assert (FOLDER / figure).is_file()
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert (FOLDER / link).exists(), link
    # In the middle of a sentence it would begin a numbered list.
    assert not re.search(r"^\s*\d+\. ", text, flags=re.MULTILINE)


def test_every_figure_is_shown_small_and_has_the_colours_of_both_themes() -> None:
    shown = set(re.findall(r"\(figures/(.*?)\)", "".join(TEXTS.values())))
    files = list((FOLDER / "figures").iterdir())
    assert {path.name for path in files} == shown
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert ElementTree.fromstring(text).tag.endswith("svg")
        assert path.stat().st_size < 250_000
        assert "prefers-color-scheme: dark" in text
        assert not re.search("#010203|#fdfeff|#c0c1c2", text)  # colours of a theme that were left


def test_quoted_code_is_the_source() -> None:
    n_quotes = 0
    for name in LESSONS:
        for path, quote in re.findall(r"\]\(\.\./\.\./(src/\S+?)\):\n\n```python\n(.*?)\n```", TEXTS[name], re.DOTALL):
            source = (ROOT / path).read_text(encoding="utf-8")
            indented = "\n".join(f"    {line}" if line else "" for line in quote.splitlines())
            assert quote in source or indented in source, (name, path)
            n_quotes += 1
    assert n_quotes >= len(LESSONS)


def test_a_statement_that_the_numbers_do_not_support_is_refused_with_its_place() -> None:
    numbers = {**NUMBERS["losses"], "wrong_squared": -0.5}
    with pytest.raises(RunFailed, match=r"templates/losses\.md\.j2, line \d+, does not"):
        pages.render("losses", numbers)


def network() -> tuple[MLP, dict[str, Any]]:
    """The network of the lesson in float64, and the numbers of its page."""
    known = NUMBERS["backpropagation"]
    model = MLP(in_features=2, out_features=1, hidden_dims=[2], activation="sigmoid").double()
    with torch.no_grad():
        model.hidden[0].linear.weight.copy_(torch.tensor(known["w"], dtype=torch.float64))
        model.hidden[0].linear.bias.copy_(torch.tensor(known["b"], dtype=torch.float64))
        model.output.weight.copy_(torch.tensor([known["v"]], dtype=torch.float64))
        model.output.bias.copy_(torch.tensor([known["c"]], dtype=torch.float64))
    return model, known


def test_every_number_of_backpropagation_by_hand_is_that_of_autograd() -> None:
    model, known = network()
    rows, target = torch.tensor([known["x"]], dtype=torch.float64), torch.tensor([[known["y"]]], dtype=torch.float64)
    hidden = model.hidden[0].linear
    sums = hidden(rows)
    units = torch.sigmoid(sums)
    output = model.output(units)
    torch.testing.assert_close(output, model(rows))  # it is the network of the project that is taken apart here
    loss = mse(output, target)
    for tensor in (sums, units, output):
        tensor.retain_grad()
    loss.backward()
    expected = {
        "z": sums[0], "h": units[0], "output": output[0, 0], "error": (output - target)[0, 0], "loss": loss,
        "d_output": output.grad[0, 0], "dv": model.output.weight.grad[0], "dc": model.output.bias.grad[0],
        "dh": units.grad[0], "dz": sums.grad[0], "slopes": (units * (1 - units))[0],
        "dw": hidden.weight.grad, "db": hidden.bias.grad, "slope": hidden.weight.grad[0, 0],
    }  # fmt: skip
    torch.optim.SGD(model.parameters(), lr=known["rate"]).step()
    after = model(rows)
    expected |= {
        "new_w": hidden.weight, "new_b": hidden.bias, "new_v": model.output.weight[0], "new_c": model.output.bias[0],
        "new_output": after[0, 0], "new_loss": mse(after, target),
    }  # fmt: skip
    given = {"x", "y", "w", "b", "v", "c", "rate"}
    assert expected.keys() == known.keys() - given
    for name, value in expected.items():
        tolerance = 1e-4 if name == "slope" else 5e-6  # a difference quotient; six digits are kept
        torch.testing.assert_close(
            torch.tensor(known[name], dtype=torch.float64), value.detach(), rtol=tolerance, atol=tolerance
        )


def test_the_valley_is_walked_as_the_formula_of_gradient_descent_says() -> None:
    path, heights = walk("optimizer=sgd", "optimizer.lr=0.03")
    for step in (0, 1, 7, 50):
        w = [START[0] * (1 - 0.03) ** step, START[1] * (1 - 0.03 * STEEP) ** step]
        assert path[step] == pytest.approx(w, rel=1e-4)
        assert heights[step] == pytest.approx(0.5 * (w[0] ** 2 + STEEP * w[1] ** 2), rel=1e-4)


def test_the_noise_of_a_batch_follows_its_size() -> None:
    noise = gradient_noise()
    assert noise[4] / noise[64] == pytest.approx(4, rel=0.25)
    assert {str(size): float(f"{value:.2g}") for size, value in noise.items()} == pytest.approx(
        NUMBERS["batch_sizes"]["noise"], rel=0.05
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["backprop"], "NAME must be one of initialization, activations, losses, backpropagation, optimizers, "
         "batch_sizes, regularization, convergence, got backprop; try backpropagation"),
        (["losses", "optimisers"], "try optimizers"),
        (["into=here"], "try "),
    ],
)  # fmt: skip
def test_wrong_names_are_refused_with_the_nearest(tmp_path: Path, words: list[str], said: str) -> None:
    done = run_program("scripts/lessons.py", [*words, f"out={tmp_path}/made"], tmp_path)
    assert done.status == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "made").exists()


def test_help_does_nothing_but_help(tmp_path: Path) -> None:
    done = run_program("scripts/lessons.py", ["--help", f"out={tmp_path}/made"], tmp_path)
    assert done.status == 0
    assert "python scripts/lessons.py [NAME …]" in done.stdout
    assert not (tmp_path / "made").exists()


def test_one_lesson_is_made_alone(tmp_path: Path) -> None:
    done = run_program("scripts/lessons.py", ["losses", "backpropagation", "out=made"], tmp_path)
    assert done.status == 0, done.stderr
    assert {path.name for path in (tmp_path / "made").iterdir()} == {
        "README.md", "losses.md", "backpropagation.md", "numbers.json", "figures"
    }  # fmt: skip
    assert (tmp_path / "made" / "backpropagation.md").read_text(encoding="utf-8") == TEXTS["backpropagation"]


def test_ctrl_c_leaves_the_pages_as_they_were(tmp_path: Path) -> None:
    at = Signal(signal.SIGINT, updates=30)
    done = run_program("scripts/lessons.py", ["convergence", f"out={tmp_path}/made"], tmp_path, at)
    assert done.status == 130
    assert done.stderr == "lessons.py: stopped: pages that are written stay, this one is as it was\n"
    assert not (tmp_path / "made").exists()


@pytest.mark.slow
def test_the_same_command_makes_the_same_files(tmp_path: Path) -> None:
    """Another machine may round differently: there the figures differ in a pixel, and statements hold all the same."""
    made = []
    for name in ("first", "second"):
        command = [sys.executable, str(ROOT / "scripts" / "lessons.py"), f"out={tmp_path / name}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        made.append({str(path.relative_to(tmp_path / name)): path.read_bytes() for path in files})
    assert made[0] == made[1]
    assert made[0].keys() == {str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*") if path.is_file()}
