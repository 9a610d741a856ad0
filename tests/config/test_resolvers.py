from omegaconf import OmegaConf

from mlplab.config.resolvers import new_run_name


def test_run_names_do_not_repeat() -> None:
    assert len({new_run_name() for _ in range(1000)}) == 1000


def test_run_names_sort_by_time_and_need_no_quoting() -> None:
    name = new_run_name()
    assert len(name) == len("2026-05-01_12-30-59_k3f9qx")
    assert name.replace("-", "").replace("_", "").isalnum()


def test_one_process_has_one_run_name() -> None:
    config = OmegaConf.create({"first": "${run_name:}", "second": "${run_name:}"})
    assert config.first == config.second
