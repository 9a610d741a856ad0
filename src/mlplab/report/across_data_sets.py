"""Compares settings over several data sets by their ranks on each, as values on different data have no common scale."""

from collections.abc import Sequence

import numpy as np

from mlplab.errors import counted, printable
from mlplab.report.paired_tests import LEVEL, least_p
from mlplab.sweeps.comparable_options import chooses_data
from mlplab.sweeps.job_values import key_of
from mlplab.sweeps.reading.comparability import HOW_TO_LEARN
from mlplab.sweeps.reading.formatting import listed, number, p_text, value_text
from mlplab.sweeps.reading.ranked_settings import Setting, by_data_set, contenders
from mlplab.sweeps.reading.sweep_records import Finding


def rank_finding(settings: Sequence[Setting]) -> Finding | None:
    """Says which setting has the best mean rank over the data sets that all of them ran on, with Friedman's test.

    Friedman (1937), "The use of ranks to avoid the assumption of normality implicit in the analysis of variance";
    for learning algorithms: Demšar (2006), "Statistical comparisons of classifiers over multiple data sets".
    """
    blocks = [
        {key_of(_of_method(setting)): setting for setting in those if setting.validation.mean is not None}
        for those in by_data_set(contenders(settings)).values()
    ]
    blocks = [block for block in blocks if block]
    if len(blocks) < 2:
        return None
    methods = [key for key in blocks[0] if all(key in block for block in blocks)]
    if len(methods) < 2:
        return None
    from scipy.stats import binomtest, chi2, friedmanchisquare, rankdata

    sign = blocks[0][methods[0]].objective.sign
    table = sign * np.array([[block[key].score for key in methods] for block in blocks])
    means = rankdata(table, axis=1).mean(axis=0)
    names = [_label(blocks[0][key]) for key in methods]
    order = np.argsort(means, kind="stable")
    ranks = listed([f"{names[place]}: {number(float(means[place]), 3)}" for place in order], 5)
    sentence = (
        f"Over {len(blocks)} data sets {names[order[0]]} has the best mean rank, {number(float(means[order[0]]), 3)}"
    )
    evidence = f"Mean ranks of {counted(len(methods), 'setting')}: {ranks}."
    if len(methods) < 3:
        # Of two settings Friedman's test is a sign test, which is exact.
        name, unlike = "Sign test", table[table[:, 0] != table[:, 1]]
        wins = int((unlike[:, 0] < unlike[:, 1]).sum())
        p = float(binomtest(wins, len(unlike)).pvalue) if len(unlike) else 1.0
        least = least_p(len(blocks))
    else:
        # Equal values everywhere have no statistic.
        name, p = "Friedman's test", float(friedmanchisquare(*table.T).pvalue) if np.ptp(table, axis=1).any() else 1.0
        least = float(chi2.sf(len(blocks) * (len(methods) - 1), len(methods) - 1))
    is_shown = p < LEVEL
    sentence += "." if is_shown else ", by no more than chance can give."
    short = f" So few data sets cannot show a difference: no p is below {number(least, 2)}." if least >= LEVEL else ""
    level = "result" if is_shown else "caution"
    return Finding("mean_ranks", level, sentence, f"{evidence} {name}: p {p_text(p)}.{short}")


def _of_method(setting: Setting) -> dict[str, object]:
    """Returns the values of a setting that do not choose its data."""
    return {
        name: value
        for name, value in setting.values.items()
        if not chooses_data(name) and (not name.startswith("data.") or name in HOW_TO_LEARN)
    }


def _label(setting: Setting) -> str:
    words = [f"{printable(setting.names[name])}={value_text(value)}" for name, value in _of_method(setting).items()]
    return ", ".join(words) or "the one setting"
