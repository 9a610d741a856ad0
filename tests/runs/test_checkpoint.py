import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mlplab.data.preprocessing import Standardize
from mlplab.errors import RunFailed, UserError
from mlplab.models import MLP, TabM
from mlplab.models.bins import quantile_edges
from mlplab.models.inputs import WithInputs
from mlplab.models.numeric_embeddings import EmbeddedInputs
from mlplab.objectives.objective import build_objective
from mlplab.runs.checkpoint import (
    FORMAT,
    AtomicCheckpointIO,
    Predictor,
    load_predictor,
    model_card,
    read_checkpoint,
    with_new_options,
)
from mlplab.task import Task

CLASSES = Task("classification", 3, feature_names=("x", "y", "z"), class_names=("a", "b", "c"))
REGRESSION = Task("regression", 3, target_name="height", unit="m", target_mean=1.7, target_std=0.2)
FEATURES = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)) * 5 + 2


class Payload:
    """What an attacker would put into a pickle: reading it runs a command."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch '{self.target}'",)


class Own(nn.Module):
    """A network that is in no table."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layer(inputs)  # type: ignore[no-any-return]


def trained(task: Task = CLASSES, **options: Any) -> MLP:
    torch.manual_seed(0)
    n_outputs = task.n_classes or 1
    model = MLP(in_features=3, out_features=n_outputs, hidden_dims=[5, 5], normalization="batch", **options)
    for _ in range(3):
        model(FEATURES)  # moves the running statistics
    return model.eval()


def checkpoint(model: nn.Module, task: Task = CLASSES, **changes: Any) -> dict[str, Any]:
    card = model_card(
        model,
        {"_target_": "my.Network", "width": 3},
        task=task,
        preprocessing=Standardize.fit(FEATURES),
        objective=build_objective("auto", task),
        data={"source": "mine", "options": {"n_samples": 20}},
    )
    weights = {f"model.{name}": value for name, value in model.state_dict().items()}
    # A Lightning checkpoint holds more than the network, metrics for one.
    return {"state_dict": {**weights, "mean_loss.val.value": torch.zeros(())}, "epoch": 3, "card": card, **changes}


def save(content: Any, path: Path) -> Path:
    torch.save(content, path)
    return path


@pytest.mark.parametrize("task", [CLASSES, REGRESSION])
@pytest.mark.parametrize("options", [{}, {"activation": "gelu", "residual": True, "dropout": 0.5}])
def test_a_predictor_is_rebuilt_from_the_file_alone_with_equal_outputs(
    tmp_path: Path, task: Task, options: dict[str, Any]
) -> None:
    model = trained(task, **options)
    expected = Predictor(model, Standardize.fit(FEATURES), task).eval()(FEATURES)
    torch.manual_seed(99)
    predictor = load_predictor(save(checkpoint(model, task), tmp_path / "best.ckpt"))
    assert torch.equal(predictor(FEATURES), expected)
    assert predictor.task == task


def test_a_predictor_preprocesses_and_gives_probabilities(tmp_path: Path) -> None:
    model = trained()
    predictor = load_predictor(save(checkpoint(model), tmp_path / "best.ckpt"))
    outputs = predictor(FEATURES)
    scaled = (FEATURES - FEATURES.mean(0)) / FEATURES.std(0, correction=0)
    torch.testing.assert_close(outputs, torch.softmax(model(scaled), dim=1), atol=1e-6, rtol=1e-5)
    assert outputs.sum(1).tolist() == pytest.approx([1.0] * 20, abs=1e-6)


def test_a_predictor_of_a_regression_gives_values_in_the_targets_unit(tmp_path: Path) -> None:
    model = trained(REGRESSION)
    predictor = load_predictor(save(checkpoint(model, REGRESSION), tmp_path / "best.ckpt"))
    raw = model(Standardize.fit(FEATURES)(FEATURES))
    assert predictor(FEATURES).shape == (20, 1)
    torch.testing.assert_close(predictor(FEATURES), raw * 0.2 + 1.7)


def test_a_numeric_embedding_is_rebuilt_with_its_bins_and_a_wrong_one_is_refused(tmp_path: Path) -> None:
    inputs = EmbeddedInputs(None, n_features=3, name="piecewise", n_columns=3, n_bins=4, d_embedding=2)
    inputs.embedding.set_edges(quantile_edges(FEATURES, 4))  # type: ignore[operator]
    model = WithInputs(inputs, TabM(in_features=6, out_features=3, k=2, hidden_dims=[5], average_of="softmax"))
    content = checkpoint(model)
    expected = Predictor(model, Standardize.fit(FEATURES), CLASSES).eval()(FEATURES)
    assert torch.equal(load_predictor(save(content, tmp_path / "best.ckpt"))(FEATURES), expected)
    for name, value in (("n_bins", 10**12), ("n_columns", 10**9), ("name", "os.system"), ("path", "/")):
        wrong = {**content["card"]["model"]["numeric_embedding"], name: value}
        card = {**content["card"], "model": {**content["card"]["model"], "numeric_embedding": wrong}}
        with pytest.raises(UserError):
            load_predictor(save({**content, "card": card}, tmp_path / "best.ckpt"))


def test_a_predictor_is_in_evaluation_mode(tmp_path: Path) -> None:
    predictor = load_predictor(save(checkpoint(trained(dropout=0.5)), tmp_path / "best.ckpt"))
    assert not any(module.training for module in predictor.modules())
    assert torch.equal(predictor(FEATURES), predictor(FEATURES))


def test_the_card_of_an_mlp_names_it_with_its_architecture() -> None:
    model = trained()
    card = checkpoint(model)["card"]
    assert card["format"] == FORMAT
    assert card["model"] == {"name": "mlp", "architecture": model.architecture}
    assert card["loss"] == {"name": "cross_entropy", "options": {}, "class_weights": None}
    assert card["data"] == {"source": "mine", "options": {"n_samples": 20}}
    assert Task.from_dict(card["task"]) == CLASSES


def test_the_card_of_another_network_holds_its_configuration() -> None:
    assert checkpoint(Own())["card"]["model"] == {
        "name": "own",
        "architecture": {"_target_": "my.Network", "width": 3},
    }


def test_an_option_that_the_network_has_gained_is_that_of_conf() -> None:
    class Grown(MLP):
        def __init__(self, *, residual: bool, more: int = 3, **options: Any) -> None:
            pass

    stored = {"hidden_dims": [4]}
    assert with_new_options(MLP, stored) == {"hidden_dims": [4]}
    Grown.__name__ = "MLP"
    assert with_new_options(Grown, stored)["residual"] is False
    assert "more" not in with_new_options(Grown, stored)
    assert with_new_options(Grown, {"residual": True})["residual"] is True


def test_a_subclass_of_a_known_network_is_not_taken_for_it() -> None:
    class Wider(MLP):
        pass

    assert checkpoint(Wider(in_features=3, out_features=3))["card"]["model"]["name"] == "own"


def test_a_network_of_ones_own_must_be_given_and_then_works(tmp_path: Path) -> None:
    model = Own()
    path = save(checkpoint(model), tmp_path / "best.ckpt")
    with pytest.raises(UserError) as refusal:
        load_predictor(path)
    assert "_target_: my.Network" in refusal.value.hint
    predictor = load_predictor(path, model=Own())
    expected = Predictor(model, Standardize.fit(FEATURES), CLASSES)(FEATURES)
    assert torch.equal(predictor(FEATURES), expected)


@pytest.mark.parametrize("name", ["os.system", "torch.nn.Linear", "__class__", ""])
def test_no_name_outside_the_table_is_followed(tmp_path: Path, name: str) -> None:
    content = checkpoint(trained())
    content["card"]["model"]["name"] = name
    with pytest.raises(UserError, match="must be one of mlp"):
        load_predictor(save(content, tmp_path / "best.ckpt"))


def test_a_target_in_the_architecture_is_not_followed(tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    content = checkpoint(trained())
    content["card"]["model"]["architecture"] = {"_target_": "os.system", "command": f"touch '{touched}'"}
    with pytest.raises(UserError, match="card must describe its network"):
        load_predictor(save(content, tmp_path / "best.ckpt"))
    assert not touched.exists()


@pytest.mark.parametrize("how", ["torch.save", "torch.save, old format", "pickle", "inside a card"])
def test_a_pickle_that_would_run_a_command_is_refused_and_runs_nothing(tmp_path: Path, how: str) -> None:
    touched, path = tmp_path / "touched", tmp_path / "evil.ckpt"
    if how == "pickle":
        path.write_bytes(pickle.dumps(Payload(touched), protocol=2))
    elif how == "inside a card":
        content = checkpoint(trained())
        content["card"]["task"]["unit"] = Payload(touched)
        save(content, path)
    else:
        torch.save({"state_dict": Payload(touched)}, path, _use_new_zipfile_serialization=how == "torch.save")
    readers = (read_checkpoint, load_predictor, AtomicCheckpointIO().load_checkpoint)
    for read in readers:
        with pytest.raises(UserError, match="must be whole and hold plain data only"):
            read(path)  # type: ignore[operator]
    with pytest.raises(UserError, match="must be whole and hold plain data only"):
        AtomicCheckpointIO().load_checkpoint(path, weights_only=False)
    assert not touched.exists()


def test_the_payload_of_these_tests_does_run_where_nothing_guards_against_it(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Payload(tmp_path / "touched")))
    assert (tmp_path / "touched").exists()


def test_a_whole_module_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="plain data only"):
        read_checkpoint(save({"model": Own()}, tmp_path / "a.ckpt"))


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04" + bytes(100)])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.ckpt"
    path.write_bytes(content)
    with pytest.raises(UserError) as refusal:
        read_checkpoint(path)
    assert str(path) in refusal.value.actual
    assert len(str(refusal.value).splitlines()) == 1


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_checkpoint_that_was_cut_off_is_refused(tmp_path: Path, share: float) -> None:
    path = save(checkpoint(trained()), tmp_path / "a.ckpt")
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(UserError, match="must be whole"):
        read_checkpoint(path)


@pytest.mark.parametrize("name", ["missing.ckpt", "."])
def test_a_file_that_is_not_there_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError) as refusal:
        read_checkpoint(tmp_path / name)
    assert refusal.value.requirement == "a checkpoint must exist"
    assert str(tmp_path / name) in refusal.value.actual


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(3), "text"])
def test_a_file_that_holds_no_dict_is_refused_with_what_it_holds(tmp_path: Path, content: Any) -> None:
    with pytest.raises(UserError) as refusal:
        read_checkpoint(save(content, tmp_path / "a.ckpt"))
    assert f"it holds {type(content).__name__}, and no dict" in refusal.value.actual


@pytest.mark.parametrize("card", [None, {}, {"format": FORMAT + 1}, {"format": 0}, "1"])
def test_a_checkpoint_without_a_card_of_this_format_is_refused(tmp_path: Path, card: Any) -> None:
    with pytest.raises(UserError, match=f"card of format {FORMAT}"):
        load_predictor(save(checkpoint(trained(), card=card), tmp_path / "a.ckpt"))


def without(*keys: str) -> Callable[[dict[str, Any]], None]:
    def remove(content: dict[str, Any]) -> None:
        for key in keys[:-1]:
            content = content[key]
        del content[keys[-1]]

    return remove


def other_width(content: dict[str, Any]) -> None:
    content["card"]["model"]["architecture"]["hidden_dims"] = [6, 6]


def unknown_argument(content: dict[str, Any]) -> None:
    content["card"]["model"]["architecture"]["colour"] = "red"


def text_for_weights(content: dict[str, Any]) -> None:
    content["state_dict"] = "none"


@pytest.mark.parametrize(
    "damage",
    [
        without("state_dict"),
        without("state_dict", "model.output.bias"),
        without("card", "model"),
        without("card", "model", "architecture"),
        without("card", "preprocessing"),
        without("card", "preprocessing", "std"),
        without("card", "task", "kind"),
        other_width,
        unknown_argument,
        text_for_weights,
    ],
)
def test_a_checkpoint_whose_parts_do_not_fit_each_other_is_refused(
    tmp_path: Path, damage: Callable[[dict[str, Any]], None]
) -> None:
    content = checkpoint(trained())
    damage(content)
    path = save(content, tmp_path / "a.ckpt")
    with pytest.raises(UserError) as refusal:
        load_predictor(path)
    assert refusal.value.requirement == "a checkpoint's card must describe its network"
    assert str(path) in refusal.value.actual


def test_a_checkpoint_is_written_with_its_directory_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "last.ckpt"
    plugin = AtomicCheckpointIO()
    content = checkpoint(trained())
    plugin.save_checkpoint(content, str(path))
    read = plugin.load_checkpoint(str(path))
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]
    assert read.keys() == content.keys()
    assert all(torch.equal(read["state_dict"][name], value) for name, value in content["state_dict"].items())
    assert read["card"]["model"] == content["card"]["model"]


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.ckpt"
    plugin = AtomicCheckpointIO()
    plugin.save_checkpoint({"epoch": 1}, path)

    def fill_the_disk(content: Any, target: Path) -> None:
        target.write_bytes(b"half a checkp")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", fill_the_disk)
    with pytest.raises(RunFailed, match=r"no space left on device\), with [0-9,.]+ MB free"):
        plugin.save_checkpoint({"epoch": 2}, path)
    assert plugin.load_checkpoint(path) == {"epoch": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_checkpoint_that_cannot_be_pickled_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    plugin = AtomicCheckpointIO()
    plugin.save_checkpoint({"epoch": 1}, path)
    with pytest.raises(RunFailed, match=r"must hold plain data only, but checkpoint\['epoch'\] is function"):
        plugin.save_checkpoint({"epoch": lambda: 2}, path)
    assert plugin.load_checkpoint(path) == {"epoch": 1}
