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

The last rows are the geometric means of errors and of seconds by those of one contestant, over all splits that both
have, in brackets their number; below 1 is better. iris and wine are left out: of 30 and 36 test rows, one is a third of
the error. An error below 0.5 % counts as 0.5 %.
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
    for title, names, bases in (
        ("Ours and others", [*THEIRS, *OURS], list(THEIRS)),
        ("Candidates for the defaults of data=table", list(CANDIDATES), list(CANDIDATES)[:1]),
    ):
        measured = [name for name in names if any(name in of_table for of_table in scores.values())]
        if len(measured) > 1:
            text += f"\n## {title}\n\n" + "\n".join(_table(measured, bases, scores)) + "\n"
    write_bytes(page.with_suffix(".json"), (json.dumps({"rows": rows, "scores": scores}, indent=1) + "\n").encode())
    write_bytes(page, text.encode())


def _table(names: list[str], bases: list[str], scores: Scores) -> list[str]:
    lines = [f"| table | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for table in [name for name in TABLES if name in scores]:
        cells = [_cell(list(scores[table].get(name, {}).values())) for name in names]
        lines.append(f"| {table} | {' | '.join(cells)} |")
    for base in [name for name in bases if name in names]:
        for title, of_seconds in (("errors", False), ("seconds", True)):
            ratios = [ratio(scores, name, base, of_seconds=of_seconds) for name in names]
            cells = [f"{mean:.3f} ({n})" if n else "–" for mean, n in ratios]
            lines.append(f"| **{title} by {base}** | {' | '.join(cells)} |")
    return lines


def _cell(results: list[tuple[float, float]]) -> str:
    if not results:
        return "–"
    errors, seconds = zip(*results, strict=True)
    digits = 3 if statistics.fmean(errors) < 10 else 2
    spread = f" ± {statistics.stdev(errors):.{digits}f}" if len(errors) > 1 else ""
    return f"{statistics.fmean(errors):.{digits}f}{spread} ({len(errors)}), {statistics.median(seconds):.1f} s"


def ratio(scores: Scores, name: str, base: str, *, of_seconds: bool = False) -> tuple[float, int]:
    """Returns the geometric mean of the error of `name` by that of `base`, and the number of splits that both have.

    Args:
        scores: of all contestants.
        name: of a contestant.
        base: the contestant that it is compared with.
        of_seconds: compares the seconds instead.
    """
    logs = []
    for table, of_table in scores.items():
        if table in FEW_ROWS:
            continue
        for seed in set(of_table.get(name, {})) & set(of_table.get(base, {})):
            (error, seconds), (base_error, base_seconds) = of_table[name][seed], of_table[base][seed]
            smallest = 0.0 if TABLES[table].is_regression else 0.5
            quotient = seconds / base_seconds if of_seconds else max(error, smallest) / max(base_error, smallest)
            logs.append(math.log(quotient))
    return (math.exp(statistics.fmean(logs)) if logs else math.nan), len(logs)
