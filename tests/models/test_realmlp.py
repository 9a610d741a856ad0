"""RealMLP against the code of its authors, pytabkit, and as a run."""

from pathlib import Path
from typing import Any

import pytest
import torch
from comparing import difference
from inference.small_runs import table_options, write_houses
from parts import needs
from slow_cases import slow
from torch import Tensor

from mlplab.building import build_data, build_learner
from mlplab.errors import UserError
from mlplab.inference.evaluating import evaluate
from mlplab.inference.exporting import export
from mlplab.inference.trained import load_run
from mlplab.models.activations import ACTIVATIONS
from mlplab.models.numeric_embeddings import PBLDEmbedding
from mlplab.models.realmlp import NTKLinear, ParametricActivation, RealMLP
from mlplab.optimization.parameter_groups import parameter_groups

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")


@pytest.fixture
def authors() -> Any:
    """Their module of layers; its `heplus_bias` draws as ours does."""
    pytest.importorskip("pytabkit")
    from pytabkit.models.nn_models import activations, nn

    return nn, activations


@pytest.fixture
def rows() -> Tensor:
    torch.manual_seed(0)
    return torch.randn(300, 6) * torch.tensor([1.0, 5.0, 0.1, 1.0, 2.0, 1.0]) + 1


def _fit(fitter: Any, rows: Tensor) -> Any:
    from pytabkit.models.data.data import DictDataset, TensorInfo

    return fitter._fit(DictDataset({"x_cont": rows}, {"x_cont": TensorInfo(feat_shape=[rows.shape[1]])}))


def test_a_layer_drawn_from_data_is_that_of_the_authors(authors: Any, rows: Tensor) -> None:
    nn, _ = authors
    torch.manual_seed(1)
    weights = _fit(nn.WeightFitter(4, weight_param="ntk", weight_init_mode="std"), rows)
    sums = weights.forward_cont(rows)
    torch.manual_seed(2)
    expected = _fit(nn.BiasFitter(bias_init_mode="he+5"), sums).forward_cont(sums)
    layer = NTKLinear(6, 4)
    found = layer.initialize_from(rows)
    assert (found - layer.bias).std(0, correction=0).tolist() == pytest.approx([1.0] * 4, rel=1e-5)
    assert bool(((found > 0).any(0) & (found < 0).any(0)).all())  # each kink lies among the rows
    torch.testing.assert_close(layer(rows), found)
    # The same numbers, drawn in the same order: theirs have the weights the other way round.
    with torch.no_grad():
        layer.weight.copy_(weights.weight.detach().t())
        layer.bias.zero_()
        ours = layer(rows)
        torch.testing.assert_close(ours, sums.detach())
        torch.manual_seed(2)
        drawn = torch.randint(300, (4, 5)), torch.empty(4, 5).exponential_()
        shares = drawn[1] / drawn[1].sum(1, keepdim=True)
        torch.testing.assert_close(ours - (ours.t().gather(1, drawn[0]) * shares).sum(1), expected.detach())


@pytest.mark.parametrize("name", ["selu", "mish"])
def test_the_parametric_activation_is_that_of_the_authors(authors: Any, rows: Tensor, name: str) -> None:
    _, activations = authors
    function = {"selu": torch.selu, "mish": activations.mish}[name]
    ours = ParametricActivation(ACTIVATIONS[name].function, 6)
    torch.testing.assert_close(ours(rows), function(rows))  # a is 1 before training
    weight = torch.randn(6)
    with torch.no_grad():
        ours.weight.copy_(weight)
    expected = activations.ParametricActivationLayer(function, weight).forward_cont(rows)
    torch.testing.assert_close(ours(rows).detach(), expected)


def test_its_embedding_of_numbers_is_that_of_the_authors(authors: Any, rows: Tensor) -> None:
    nn, _ = authors
    options = {"plr_sigma": 0.1, "plr_hidden_1": 16, "plr_hidden_2": 4, "plr_act_name": "linear"}
    theirs = _fit(nn.PLREmbeddingsFactory(**options, plr_use_densenet=True, plr_use_cos_bias=True), rows)
    torch.manual_seed(3)
    ours = PBLDEmbedding(n_columns=6)
    assert float(ours.frequencies.detach().std()) == pytest.approx(0.1, rel=0.2)
    with torch.no_grad():
        ours.frequencies.copy_(theirs.weight_1.squeeze(1))
        ours.phases.copy_(theirs.bias_1.squeeze(1))
        ours.linear.weight.copy_(theirs.weight_2)
        ours.linear.bias.copy_(theirs.bias_2.squeeze(1))
        found = ours(rows)
    # Theirs has the numbers behind all embeddings, ours each behind its own.
    expected = theirs.forward_cont(rows).detach()
    torch.testing.assert_close(found[:, :, :3].flatten(1), expected[:, :18], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[:, :, 3], expected[:, 18:])
    factors = {group.get("lr") for group in parameter_groups(ours, weight_decay=None, lr=1.0)}
    assert factors == {0.1}


def test_the_whole_network_is_that_of_its_formula(rows: Tensor) -> None:
    network = RealMLP(in_features=6, out_features=2, hidden_dims=[5], dropout=0.5).eval()
    network.initialize_from(rows)
    with torch.no_grad():
        network.scale.normal_()
        network.hidden[0].activation.weight.normal_()
    one = {name: value.detach().double() for name, value in network.named_parameters()}
    sums = (rows.double() * one["scale"]) @ one["hidden.0.linear.weight"].t() / 6**0.5 + one["hidden.0.linear.bias"]
    mixed = sums + one["hidden.0.activation.weight"] * (torch.selu(sums) - sums)
    expected = mixed @ one["output.weight"].t() / 5**0.5 + one["output.bias"]
    torch.testing.assert_close(network(rows).detach().double(), expected, rtol=1e-5, atol=1e-5)


def test_the_rates_are_those_of_the_paper() -> None:
    network = RealMLP(in_features=3, out_features=2, hidden_dims=[5])
    groups = parameter_groups(network, weight_decay=0.02, lr=0.04)
    found = {name: (group.get("lr", 0.04), group["weight_decay"]) for group in groups for name, _ in group["params"]}
    assert found == {
        "scale": (pytest.approx(0.24), 0.02),
        "hidden.0.linear.weight": (0.04, 0.02),
        "hidden.0.linear.bias": (pytest.approx(0.004), 0.0),
        "hidden.0.activation.weight": (pytest.approx(0.004), 0.02),
        "output.weight": (0.04, 0.02),
        "output.bias": (pytest.approx(0.004), 0.0),
    }
    assert "lr" not in groups[0]  # the plain rate first, which curves show
    plain = RealMLP(in_features=3, out_features=2, scaling_layer=False, bias_lr_factor=1.0, parametric_activation=False)
    assert len(parameter_groups(plain, weight_decay=None, lr=0.04)) == 1


@needs("tables")
@pytest.mark.parametrize(("experiment", "target"), [("realmlp_regression", "price"), *slow(("realmlp", "kind"))])
def test_the_experiment_runs_on_a_table_goes_on_and_is_exported(
    train_run: Any, go_on: Any, tmp_path: Path, experiment: str, target: str
) -> None:
    options = table_options(write_houses(tmp_path / "houses.csv"), target)
    words = [
        f"experiment={experiment}", f"data.path={options['path']}", f"data.target={target}",
        f"data.drop=[{','.join(options['drop'])}]", "trainer.max_epochs=4", "data.batch_size=32",
        "model.hidden_dims=[8,8]", "callbacks.figures=null", "callbacks.histograms=null",
    ]  # fmt: skip
    run = train_run(*words)
    assert difference(run.directory, go_on(*words, stops=(3, 13))) == ""
    assert difference(run.directory, train_run(*words, "engine=plain").directory) == ""
    trained = load_run(run.directory)
    found = {f"test/{key}": value for key, value in evaluate(trained).metrics.items()}
    assert found == pytest.approx(run.result["test"], rel=1e-4)
    export(trained, "safetensors", tmp_path / "model.safetensors")
    last = torch.load(run.directory / "checkpoints" / "last.ckpt", weights_only=True)
    rates = {group["name"]: group["initial_lr"] for group in last["optimizer_states"][0]["param_groups"]}
    lr = 0.04 if experiment == "realmlp" else 0.2
    assert rates["decayed"] == lr
    assert rates["decayed, lr x 6"] == pytest.approx(6 * lr)
    preprocessing = trained.predictor.preprocessing
    assert preprocessing.smooth_clip


def test_it_begins_with_units_that_fit_the_training_part(make_config: Any) -> None:
    config = make_config("model=realmlp", "data=wine")
    data = build_data(config)
    data.setup()
    model: Any = build_learner(config, data).model
    first = model.network.hidden[0].linear
    sums = first(model.inputs(data.part("train")[0])) - first.bias
    torch.testing.assert_close(sums.std(0, correction=0), torch.ones(256), rtol=1e-4, atol=0)


def test_impossible_options_are_refused(train_run: Any) -> None:
    with pytest.raises(UserError, match=r"model.scale_lr_factor must be a positive number, got 0"):
        train_run("model=realmlp", "model.scale_lr_factor=0")
    with pytest.raises(UserError, match="bias_lr_factor must be a positive number"):
        RealMLP(in_features=1, out_features=1, bias_lr_factor=-1.0)
