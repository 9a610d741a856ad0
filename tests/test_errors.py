import pickle

import pytest

from mlplab.errors import RunFailed, RunStopped, UserError, rounded


def test_a_refusal_says_what_must_hold_what_was_given_and_what_to_try() -> None:
    refusal = UserError("optimizer.lr must be a positive number", "optimizer.lr=-1", "optimizer.lr=0.001")
    assert str(refusal) == "optimizer.lr must be a positive number, got -1; try optimizer.lr=0.001"
    assert (refusal.requirement, refusal.actual, refusal.hint) == (
        "optimizer.lr must be a positive number",
        "optimizer.lr=-1",
        "optimizer.lr=0.001",
    )


@pytest.mark.parametrize(
    "hint", ["a.b=[3]", "+a={b: c}", "seed=range(0,5)", "a.b=3", "a={b: 3} or c={d: 3}", "a new run"]
)
def test_a_hint_is_quoted_where_a_shell_would_expand_it(hint: str) -> None:
    told = str(UserError("a must b", "c", hint)).partition("try ")[2]
    assert told == (f"'{hint}'" if hint[-1] in "])}" and " or " not in hint else hint)


def test_a_refusal_is_caught_as_a_value_error() -> None:
    with pytest.raises(ValueError, match="a must b, got c; try d"):
        raise UserError("a must b", "c", "d")


def test_a_refusal_survives_pickling_with_all_its_parts() -> None:
    refusal = pickle.loads(pickle.dumps(UserError("a must b", "c", "d")))
    assert type(refusal) is UserError
    assert (refusal.requirement, refusal.actual, refusal.hint) == ("a must b", "c", "d")
    assert str(refusal) == "a must b, got c; try d"


def test_a_failed_run_is_not_a_refusal_of_the_configuration() -> None:
    assert issubclass(RunFailed, RuntimeError)
    assert not issubclass(RunFailed, ValueError)


def test_a_stopped_run_ends_a_sweep_and_is_not_taken_for_ctrl_c() -> None:
    assert not issubclass(RunStopped, Exception | KeyboardInterrupt | SystemExit)


def test_a_stopped_run_survives_pickling_with_its_status() -> None:
    stopped = pickle.loads(pickle.dumps(RunStopped("stopped by SIGTERM", 143)))
    assert (str(stopped), stopped.status) == ("stopped by SIGTERM", 143)


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.123456, 4, "0.1235"), (9999.4, 4, "9999"), (50520.3, 4, "50,520"), (-1080.2, 3, "-1,080"),
        (3e12, 4, "3e+12"), (float("inf"), 4, "inf"), (float("nan"), 4, "nan"), (0, 4, "0"), (2e-5, 4, "2e-05"),
    ],
)  # fmt: skip
def test_a_large_number_has_no_exponent(value: float, digits: int, text: str) -> None:
    assert rounded(value, digits) == text
