import pytest

from mlplab.config.suggestions import nearest_key, nearest_name

KEYS = ["optimizer", "model", "seed", "optimizer.lr", "optimizer.weight_decay", "model.hidden_dims", "model.dropout",
        "regularization.l2", "trainer", "trainer.devices", "trainer.min_epochs", "trainer.max_epochs",
        "data._target_", "callbacks.figures", "callbacks.shout.word"]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("optimizr", "optimizer"),
        ("lr", "optimizer.lr"),
        ("model.hiden_dims", "model.hidden_dims"),
        ("hiden_dims", "model.hidden_dims"),
        ("model.l2", "regularization.l2"),
        ("weight_decay", "optimizer.weight_decay"),
        ("epochs", "trainer.max_epochs"),
        ("trainer.epochs", "trainer.max_epochs"),
        ("optimizer.learning_rate", "optimizer.lr"),
        ("model.units", "model.hidden_dims"),
        ("device", "trainer"),
        ("trainer.device", "trainer.devices"),
        ("learner._target_", None),
        ("optimizer.foo", None),
        ("optimizer.max_epoch", "trainer.max_epochs"),
        ("optimizer.drop", "model.dropout"),
        # Names of other groups that are only similar would mislead, and so would one that has little but its group.
        ("optimizer.ignore", None),
        ("callbacks.shout.every", None),
        ("zzz", None),
    ],
)
def test_the_key_that_was_meant(given: str, meant: str | None) -> None:
    assert nearest_key(given, KEYS) == meant


@pytest.mark.parametrize(
    ("given", "meant"), [("adm", "adam"), ("rms", "rmsprop"), ("prop", "rmsprop"), ("", None), ("q", None)]
)
def test_the_name_that_was_meant(given: str, meant: str | None) -> None:
    assert nearest_name(given, ["sgd", "adam", "adamw", "rmsprop"]) == meant


@pytest.mark.parametrize(("given", "meant"), [("price", "SalePrice"), ("saleprise", "SalePrice"), ("AGE", "age")])
def test_case_does_not_count(given: str, meant: str) -> None:
    assert nearest_name(given, ["Id", "SalePrice", "age", "Age"]) == meant
