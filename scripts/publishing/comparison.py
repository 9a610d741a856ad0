"""docs/side-by-side.md: contestants on the same splits, their scores and their seconds."""

import json
import math
import statistics
from pathlib import Path

from mlplab.runs.files import write_bytes
from publishing.contestants import CANDIDATES, OURS, THEIRS
from publishing.tables import TABLES

Scores = dict[str, dict[str, dict[str, tuple[float, float]]]]
"""Table → contestant → seed → score and seconds."""

FEW_ROWS = ("iris", "wine")
"""Tables that say nothing about a small difference."""

HEAD = """# Networks and boosted trees side by side

`python scripts/side_by_side.py data=FOLDER` measures the first table, `… contestants=candidates` the second, and both
write this page; `scripts/publishing/contestants.py` names the words of each of our networks. All contestants have the
same rows for training, validation and test (64, 16 and 20 %), which a seed draws; of a table with more than {rows} rows
it draws {rows}. The values are the mean error of the test part ± its standard deviation over the seeds, in brackets
their number: the root of the mean squared error where the target is a number, else wrong classes in %. Behind them
stand the median seconds of the processor, on one thread; imports are left out. Where the machine has other work, these
are longer than on an idle one. AutoGluon's network is not here: pip finds no release of it that goes with
constraints.txt.

The last rows are the geometric means of errors and seconds, divided by those of one contestant, ± their standard error,
over all splits that both have, in brackets their number; below 1 is better. iris and wine are left out: of 30 and 36
test rows, one is a third of the error. An error below 0.5 % counts as 0.5 %.
"""

OURS_AND_OTHERS = """
## Ours and others

"""

CANDIDATES_HEAD = """
## Candidates for the defaults of data=table

`mlp` has the defaults. They would change for a candidate with clearly smaller errors, by twice the standard error, at
the same seconds. Numeric embeddings seem to lower the errors, in twice the time: `model.numeric_embedding=piecewise`.

"""


def read_scores(page: Path, rows: int) -> Scores:
    """Reads what is measured already with this number of rows."""
    path = page.with_suffix(".json")
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    scores: Scores = known["scores"] if known.get("rows") == rows else {}
    return scores


def write_comparison(page: Path, rows: int, scores: Scores) -> None:
    """Writes the page and the .json beside it."""
    text = HEAD.format(rows=f"{rows:,}")
    for head, names, bases in (
        (OURS_AND_OTHERS, [*THEIRS, *OURS], list(THEIRS)),
        (CANDIDATES_HEAD, list(CANDIDATES), ["mlp"]),
    ):
        measured = [name for name in names if any(name in of_table for of_table in scores.values())]
        if len(measured) > 1:
            text += head + "\n".join(_table(measured, bases, scores)) + "\n"
    write_bytes(page.with_suffix(".json"), (json.dumps({"rows": rows, "scores": scores}, indent=1) + "\n").encode())
    write_bytes(page, text.encode())


def _table(names: list[str], bases: list[str], scores: Scores) -> list[str]:
    lines = [f"| table | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for table in [name for name in TABLES if name in scores]:
        cells = [_cell(list(scores[table].get(name, {}).values())) for name in names]
        lines.append(f"| {table} | {' | '.join(cells)} |")
    for base in [name for name in bases if name in names]:
        for title, of_seconds in (("errors", False), ("seconds", True)):
            cells = [_ratio(quotients(scores, name, base, of_seconds=of_seconds)) for name in names]
            lines.append(f"| **{title} ÷ {base}** | {' | '.join(cells)} |")
    return lines


def _cell(results: list[tuple[float, float]]) -> str:
    if not results:
        return "–"
    errors, seconds = zip(*results, strict=True)
    digits = 3 if statistics.fmean(errors) < 10 else 2
    spread = f" ± {statistics.stdev(errors):.{digits}f}" if len(errors) > 1 else ""
    return f"{statistics.fmean(errors):.{digits}f}{spread} ({len(errors)}), {statistics.median(seconds):.1f} s"


def _ratio(values: list[float]) -> str:
    if not values:
        return "–"
    logs = [math.log(value) for value in values]
    mean = math.exp(statistics.fmean(logs))
    error = f" ± {mean * statistics.stdev(logs) / math.sqrt(len(logs)):.3f}" if len(logs) > 1 else ""
    return f"{mean:.3f}{error} ({len(logs)})"


def quotients(scores: Scores, name: str, base: str, *, of_seconds: bool = False) -> list[float]:
    """Returns the error of `name` by that of `base`, or its seconds, for each split that both have."""
    values = []
    for table, of_table in scores.items():
        if table in FEW_ROWS:
            continue
        for seed in sorted(set(of_table.get(name, {})) & set(of_table.get(base, {}))):
            (error, seconds), (base_error, base_seconds) = of_table[name][seed], of_table[base][seed]
            smallest = 0.0 if TABLES[table].is_regression else 0.5
            values.append(seconds / base_seconds if of_seconds else max(error, smallest) / max(base_error, smallest))
    return values
