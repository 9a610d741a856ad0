"""Optuna's samplers and pruners by their names, with the seed and the options that they are given."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from mlplab.config.suggestions import nearest_name
from mlplab.errors import UserError
from mlplab.sweeps.search.space import Space, grid_of

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler

# Names of classes, and not the classes: importing Optuna takes half a second.
SAMPLERS = {
    "tpe": "TPESampler",
    "cmaes": "CmaEsSampler",
    "random": "RandomSampler",
    "qmc": "QMCSampler",
    "grid": "GridSampler",
    "nsgaii": "NSGAIISampler",
    "gp": "GPSampler",
}

PRUNERS = {
    "none": "NopPruner",
    "median": "MedianPruner",
    "halving": "SuccessiveHalvingPruner",
    "hyperband": "HyperbandPruner",
}

OPTIONS: dict[str, dict[str, Any]] = {
    "cmaes": {"warn_independent_sampling": False},
    "gp": {"warn_independent_sampling": False},
    # Unscrambled, the first points of Sobol' are the corner and the middle of every space.
    "qmc": {"warn_independent_sampling": False, "qmc_type": "sobol", "scramble": True},
}
"""Options that differ from Optuna's defaults. That choices are drawn independently is documented, and no warning."""


def build_sampler(name: str, seed: int | None, options: Mapping[str, Any], space: Space) -> "BaseSampler":
    """Builds a sampler, which proposes values.

    Raises:
        UserError: there is no such sampler, or it has no such option.
    """
    import optuna

    _require(name, SAMPLERS, "hydra.sweeper.sampler")
    if name == "grid":
        # A grid has all combinations, of which many are one job where a name is not drawn.
        if space.conditions:
            raise UserError(
                "sampler=grid must have a space without conditions", f"when: {next(iter(space.conditions))}",
                "hydra.sweeper.sampler=random",
            )  # fmt: skip
        sampler = optuna.samplers.GridSampler(grid_of(space), seed=seed)
        sampler.after_trial = lambda *_: None  # type: ignore[method-assign]  # else it stops Optuna's loop: here is none
        return sampler
    built = _built(
        getattr(optuna.samplers, SAMPLERS[name]),
        # The seed comes last: it has a setting of its own, which is in sweep.json.
        {**OPTIONS.get(name, {}), **options, "seed": seed},
        f"hydra.sweeper.sampler_options of {name}",
    )
    if name == "gp":  # Sums over several threads differ in their last bits, and so would what is proposed again.
        built.sample_relative = _on_one_thread(built.sample_relative)
    return built  # type: ignore[no-any-return]


def _on_one_thread(sample: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    def sample_on_one_thread(*arguments: Any) -> dict[str, Any]:
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return sample(*arguments)
        finally:
            torch.set_num_threads(before)

    return sample_on_one_thread


def build_pruner(name: str, options: Mapping[str, Any]) -> "BasePruner":
    """Builds a pruner, which ends trials early that are worse than others were.

    Raises:
        UserError: there is no such pruner, or it has no such option.
    """
    import optuna

    _require(name, PRUNERS, "hydra.sweeper.pruner")
    kind = getattr(optuna.pruners, PRUNERS[name])

    def tried(**options: Any) -> "BasePruner":
        """Builds it and asks it once, as Hyperband looks at its options only then."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)  # it would tell of the study
        pruner: BasePruner = kind(**options)
        study = optuna.create_study(pruner=pruner)
        study.add_trial(optuna.create_trial(value=0.0, intermediate_values={1: 0.0, 2: 0.0}))
        trial = study.ask()
        trial.report(1.0, 1)
        trial.should_prune()
        return kind(**options)  # type: ignore[no-any-return]

    tried.__name__ = kind.__name__
    return _built(tried, dict(options), f"hydra.sweeper.pruner_options of {name}")  # type: ignore[no-any-return]


def _require(name: str, known: Mapping[str, str], what: str) -> None:
    if name not in known:
        near = nearest_name(name, list(known)) or next(iter(known))
        raise UserError(f"{what} must be one of {', '.join(known)}", f"{what}={name}", f"{what}={near}")


def _built(kind: Any, options: dict[str, Any], what: str) -> Any:
    import warnings

    from optuna.exceptions import ExperimentalWarning

    with warnings.catch_warnings():
        # Optuna calls some samplers experimental each time they are built, such as QMCSampler.
        warnings.simplefilter("ignore", ExperimentalWarning)
        try:
            return kind(**options)
        except (TypeError, ValueError, AssertionError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UserError(
                f"{what} must be arguments of optuna's {kind.__name__}", reason, "leaving them out"
            ) from None
