"""Trains our networks, those of others, and boosted trees on the same splits of small tables, one after the other.

    python scripts/side_by_side.py data=FOLDER [contestants=published] [tables=iris,…] [seeds=3] [rows=2000] [page=FILE]

    data=FOLDER             where the data sets lie
    contestants=published   our networks beside those of others; candidates: other defaults of data=table;
                            or names, separated by commas
    tables=NAME,…           without it, all whose files are in the folder
    seeds=3                 how many seeds, from 0; each draws rows and split anew
    rows=2000               so many rows of a larger table at most, drawn by the seed
    page=FILE               what is written; what is in the .json beside it is not measured again

All run on one thread, in turn, in one process. Each is given the same rows for training, validation and test. Needs the
extra `reference`.
"""

import sys
from pathlib import Path
from typing import Any

from publishing.comparison import read_scores, write_comparison
from publishing.contestants import CANDIDATES, OURS, THEIRS, train_contestant
from publishing.tables import TABLES, split_table

from mlplab.cli.script import Option, run_script
from mlplab.config.suggestions import nearest_name
from mlplab.errors import UserError

ROOT = Path(__file__).resolve().parents[1]

GROUPS = {"published": [*THEIRS, *OURS], "candidates": list(CANDIDATES)}

OPTIONS = {
    "data": Option("path", ROOT.parent / "shared" / "data", example="data"),
    "contestants": Option("text", "published", example="published"),
    "tables": Option("text", None, example="iris,wine"),
    "seeds": Option("count", 3, example="3"),
    "rows": Option("count", 2000, example="2000"),
    "page": Option("path", ROOT / "docs" / "side-by-side.md", example="side-by-side.md"),
}


def main(settings: dict[str, Any]) -> int:
    folder, rows, page = settings["data"], settings["rows"], settings["page"]
    group = GROUPS.get(settings["contestants"]) or known_names(
        "contestants", settings["contestants"], [*THEIRS, *OURS, *CANDIDATES]
    )
    present = [name for name, table in TABLES.items() if not table.file or (folder / table.file).exists()]
    tables = known_names("tables", settings["tables"], present) if settings["tables"] else present
    scores = read_scores(page, rows)
    warm: set[str] = set()
    for seed in range(settings["seeds"]):
        for name in tables:
            table = split_table(TABLES[name], folder, seed, rows)
            for contestant in group:
                results = scores.setdefault(name, {}).setdefault(contestant, {})
                if str(seed) in results:
                    continue
                if contestant not in warm:  # what a first training imports is not its time
                    warm.add(contestant)
                    train_contestant(contestant, table, TABLES[name].is_regression, seed)
                results[str(seed)] = train_contestant(contestant, table, TABLES[name].is_regression, seed)
                score, seconds = results[str(seed)]
                print(f"{name:14} {contestant:18} seed {seed}  {score:8.4f}  {seconds:6.1f} s", file=sys.stderr)
                write_comparison(page, rows, scores)
    print(f"wrote   {page}")
    return 0


def known_names(option: str, text: str, known: list[str]) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in known:
            raise UserError(f"{option} must be among {', '.join(known)}", name, nearest_name(name, known) or known[0])
    return names


if __name__ == "__main__":
    sys.exit(run_script(main, OPTIONS, __doc__))
