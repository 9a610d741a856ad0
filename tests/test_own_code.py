"""What the user's own modules leave unread in the configuration."""

from types import SimpleNamespace
from typing import Any

import pytest
from composing import composed
from parts import skip_without

from mlplab import building
from mlplab.data.own_data import OwnData
from mlplab.errors import UserError
from mlplab.own_code import require_read

DATA = ("~data", "+data._target_=own_parts.PictureData")
MODULE = "+module._target_=own_parts.Autoencoder"

IGNORED = [
    ([*DATA, "data.folds=3", "data.fold=0"], r"data\.folds must be an option of own_parts\.PictureData, but it takes "),
    ([*DATA, "data.validation_fraction=0.2"], r"try leaving data\.validation_fraction out"),
    ([*DATA, "+data.batch_sise=3"], r"try data\.batch_size=3"),
    ([MODULE, "optimizer=sgd"], r"got optimizer=sgd; try module\.OPTION=…, or an argument optimizer of its __init__"),
    ([MODULE, "optimizer.lr=1"], r"takes in_features, width, got optimizer\.lr=1"),
    ([MODULE, "augmentation.noise=0.1"], r"got augmentation\.noise=0\.1; try module\.OPTION=…$"),
]


@pytest.mark.parametrize(("words", "message"), IGNORED)
def test_what_they_would_ignore_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        require_read(composed(*words), words)


@pytest.mark.parametrize(
    "words", [[*DATA, "data.batch_size=3", MODULE, "seed=1"], ["optimizer=sgd", "data.folds=null"]]
)
def test_what_is_read_is_accepted(words: list[str]) -> None:
    require_read(composed(*words), words)


@pytest.mark.parametrize(("words", "message"), [IGNORED[0], IGNORED[3]])
def test_a_sweep_is_refused_before_its_first_job(words: list[str], message: str) -> None:
    skip_without("sweeps")
    from mlplab.sweeps.composer import Composer

    loader: Any = SimpleNamespace(load_job=lambda sweep, overrides: composed(*overrides))
    with pytest.raises(UserError, match=message):
        Composer(composed(), loader).check_job(words)


def test_a_run_is_refused_before_its_data_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    words, message = IGNORED[0]
    monkeypatch.setattr(building, "typed_overrides", lambda: words)
    with pytest.raises(UserError, match=message):
        building.build_data(composed(*words))


@pytest.mark.parametrize(
    "pair",
    [
        [[*DATA, f"data.batch_size={size}"] for size in (4, 8)],
        [["~data", "+data._target_=own_parts.FoldedPictures", "data.folds=3", f"data.fold={fold}"] for fold in (0, 2)],
    ],
)
def test_batches_of_another_size_and_other_folds_are_of_the_same_data(pair: list[list[str]]) -> None:
    fingerprints = set()
    for words in pair:
        data = building.build_data(composed(*words))
        assert isinstance(data, OwnData)
        data.setup()
        fingerprints.add(data.fingerprint)
    assert len(fingerprints) == 1
