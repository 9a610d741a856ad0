import json

import pytest

from mlplab.report.paired_tests import p_text
from mlplab.report.sweep_analysis import SweepAnalysis
from mlplab.report.terminal_summary import as_content, as_text
from mlplab.runs.files import as_json
from mlplab.sweeps.reading.formatting import number, spread_text
from mlplab.sweeps.reading.sweep_records import Spread


def test_the_summary_fits_80_columns_and_is_plain_when_piped(told_search: SweepAnalysis) -> None:
    output = as_text(told_search)
    assert max(len(line) for line in output.splitlines()) <= 80
    assert "\x1b" not in output
    assert "… and 70 more in leaderboard.csv" in output
    for finding in told_search.findings:
        assert " ".join(finding.sentence.split()[:6]) in " ".join(output.split())


def test_hostile_names_stay_text(told_hostile: SweepAnalysis) -> None:
    output = as_text(told_hostile)
    assert "\x1b" not in output
    assert "\u202e" not in output


def test_json_is_plain_and_whole(told_comparison: SweepAnalysis) -> None:
    content = json.loads(as_json(as_content(told_comparison)))
    assert content["objectives"] == [{"metric": "val/loss", "mode": "min"}]
    assert content["states"] == {"finished": 64}
    assert content["leaderboard"][0]["median epochs to target"] == 6.5
    assert content["leaderboard"][4]["median epochs to target"] is None  # infinite
    assert content["leaderboard"][4]["target hits"] == 0
    assert {finding["kind"] for finding in content["findings"]} >= {"best", "paired_test", "target", "tuning"}
    assert content["tests"][0]["arms"] == ["adam", "sgd"]
    assert content["effects"]["method"] == "ped_anova"


def test_json_of_hostile_names_is_read_back(told_hostile: SweepAnalysis) -> None:
    assert json.loads(as_json(as_content(told_hostile)))["target"]["metric"] == '"><img src=x onerror=alert(1)>'


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ((), "–"), ((0.123456,), "0.1235"), ((0.1, 0.2, 0.3), "0.20 ± 0.10"), ((1.0, 1.0), "1 ± 0"),
        ((1e9, 3e9), "2e9 ± 1.4e9"), ((100.0, 200.0), "150 ± 71"), ((1e-9, 2e-9), "1.5e-9 ± 7.1e-10"),
        ((150123.0, 150173.0), "150148 ± 35"), ((0.5, 0.50000001), "0.500000005 ± 7.1e-9"),
    ],
)  # fmt: skip
def test_means_are_told_to_the_digits_of_their_deviation(values: tuple[float, ...], text: str) -> None:
    assert spread_text(Spread(values)) == text


def test_numbers_are_told_in_four_digits() -> None:
    told = {number(v) for v in (None, float("nan"))} | {number(v) for v in (1e-5, 12345.6, float("inf"), -float("inf"))}
    assert told == {"–", "1e-5", "1.235e4", "∞", "−∞"}
    assert p_text(0.00001) == "below 0.0001"
