"""metrics.csv, which a run that goes on continues."""

from pathlib import Path

from mlplab.loggers.csv_log import ResumableCSVLogger
from mlplab.runs.files import flushed_together


def logged(directory: Path, *rows: tuple[int, dict[str, float]]) -> ResumableCSVLogger:
    logger = ResumableCSVLogger(str(directory))
    for step, metrics in rows:
        logger.log_metrics(metrics, step=step)
    logger.finalize("success")
    return logger


def lines(directory: Path) -> list[str]:
    return (directory / "metrics.csv").read_text().splitlines()


def test_the_file_lies_right_in_the_directory(tmp_path: Path) -> None:
    logged(tmp_path / "csv", (1, {"loss": 2.0}), (2, {"loss": 1.0}))
    assert [path.name for path in (tmp_path / "csv").iterdir()] == ["metrics.csv"]
    assert lines(tmp_path / "csv") == ["loss,step", "2.0,1", "1.0,2"]


def test_a_second_logger_goes_on_where_the_first_ended(tmp_path: Path) -> None:
    logged(tmp_path, (1, {"loss": 2.0}))
    logged(tmp_path, (2, {"loss": 1.0}))
    assert lines(tmp_path) == ["loss,step", "2.0,1", "1.0,2"]


def test_a_new_name_gets_a_column_and_earlier_rows_stay(tmp_path: Path) -> None:
    logged(tmp_path, (1, {"loss": 2.0}))
    logged(tmp_path, (2, {"loss": 1.0, "accuracy": 0.5}), (3, {"accuracy": 0.6}))
    assert lines(tmp_path)[0] == "accuracy,loss,step"
    assert lines(tmp_path)[1:] == [",2.0,1", "0.5,1.0,2", "0.6,,3"]


def test_the_position_counts_the_rows_with_those_that_wait(tmp_path: Path) -> None:
    logger = ResumableCSVLogger(str(tmp_path))
    assert logger.position() == 0
    for step in range(3):
        logger.log_metrics({"loss": 1.0}, step=step)
    assert logger.position() == 3
    assert len(lines(tmp_path)) == 4


def test_rewinding_keeps_the_rows_until_then(tmp_path: Path) -> None:
    logger = logged(tmp_path, (1, {"loss": 2.0}), (2, {"loss": 1.0}))
    position = logger.position()
    logged(tmp_path, (3, {"loss": 0.5}), (4, {"loss": 0.4, "accuracy": 0.9}))
    again = ResumableCSVLogger(str(tmp_path))
    again.rewind(position, step=2)
    again.log_metrics({"loss": 0.5}, step=3)
    assert again.position() == 3
    assert [line.split(",")[-1] for line in lines(tmp_path)] == ["step", "1", "2", "3"]


def test_a_row_that_was_cut_off_by_a_kill_is_rewound(tmp_path: Path) -> None:
    position = logged(tmp_path, (1, {"accuracy": 0.1, "loss": 2.0})).position()
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("0.2,1.")
    again = ResumableCSVLogger(str(tmp_path))
    again.rewind(position, step=1)
    again.log_metrics({"accuracy": 0.2, "loss": 1.0}, step=2)
    again.finalize("success")
    assert lines(tmp_path) == ["accuracy,loss,step", "0.1,2.0,1", "0.2,1.0,2"]


def test_rewinding_to_the_beginning_leaves_no_row_and_no_header(tmp_path: Path) -> None:
    logged(tmp_path, (1, {"loss": 2.0, "gone": 1.0}))
    again = ResumableCSVLogger(str(tmp_path))
    again.rewind(None, step=0)
    again.log_metrics({"loss": 2.0}, step=1)
    again.finalize("success")
    assert lines(tmp_path) == ["loss,step", "2.0,1"]


def test_rewinding_what_is_not_there_makes_nothing(tmp_path: Path) -> None:
    ResumableCSVLogger(str(tmp_path / "csv")).rewind(3, step=9)
    assert list(tmp_path.iterdir()) == []


def test_rows_come_in_the_order_of_their_steps_whenever_callbacks_give_what_they_hold(tmp_path: Path) -> None:
    def log(logger: ResumableCSVLogger, name: str, *steps: int, **also: int) -> None:
        for step in steps:
            logger.log_metrics({name: 1.0, **also}, step=step)
            logger.save()  # as Lightning does, whoever still holds rows

    files = set()
    for until_checkpoint in (0, 2, 3):  # no checkpoint follows the last step of an epoch before its validation
        logger = ResumableCSVLogger(str(tmp_path / str(until_checkpoint)))
        steps = range(1, until_checkpoint + 1)
        log(logger, "loss", *steps)
        log(logger, "norm", *steps)
        assert logger.position() == 2 * until_checkpoint
        log(logger, "val", 3, epoch=0)  # the Trainer counts from 0
        log(logger, "loss", *range(until_checkpoint + 1, 5))
        log(logger, "norm", *range(until_checkpoint + 1, 5))
        logger.settle()
        log(logger, "mean", 3, epoch=0)
        logger.finalize("success")
        files.add((tmp_path / str(until_checkpoint) / "metrics.csv").read_text())
    (content,) = files
    assert [line.split(",")[4] for line in content.splitlines()] == ["step", *"112233344", "3"]


def test_a_new_name_keeps_all_rows_where_files_are_flushed_together(tmp_path: Path) -> None:
    logger = ResumableCSVLogger(str(tmp_path))
    for step, name in enumerate(("loss", "accuracy", "score")):
        logger.log_metrics({name: 1.0}, step=step)
        with flushed_together():  # as a checkpoint is written
            assert logger.position() == step + 1
    assert lines(tmp_path) == ["accuracy,loss,score,step", ",1.0,,0", "1.0,,,1", ",,1.0,2"]


def test_rows_that_a_killed_process_left_without_their_header_are_no_error(tmp_path: Path) -> None:
    position = logged(tmp_path, (1, {"loss": 2.0})).position()
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("0.5,1.0,0.1,2\r\n")
    again = ResumableCSVLogger(str(tmp_path))
    again.rewind(position, step=1)
    assert lines(tmp_path) == ["loss,step", "2.0,1"]
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("0.5,1.0,0.1,2\r\n")
    assert again.position() == 2
    again.log_metrics({"accuracy": 0.5}, step=3)
    again.finalize("success")
