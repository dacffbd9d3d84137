"""`actionbench judges calibrate`."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from actionbench.commands.display import JobProgress, print_table
from actionbench.commands.options import (
    FOLDER,
    device_option,
    judge_option,
    judge_set_option,
    suite_option,
)
from actionbench.device import resolve_device
from actionbench.printing import say
from actionbench.registry import make_judge
from actionbench.suite.suite import get_suite


@click.command("calibrate")
@judge_option
@judge_set_option
@suite_option()
@device_option
@click.option("--out", type=FOLDER, metavar="DIR", help="Default: `calibration/JUDGE-SUITE` here.")
def calibrate_judge(
    judge: str | None, judge_words: tuple[str, ...], suite: str, device: str,
    out: Path | None,
) -> None:  # fmt: skip
    """Show a judge each exemplar with each action in question: what it misses or sees wrongly.

    An exemplar is left out of what the judge looks at when it is asked about it. Writes
    calibration.json and the confusion matrix, calibration.csv.
    """
    from evaluation.judges import calibration

    chosen = get_suite(suite)
    name, resolved = judge or chosen.judge, resolve_device(device)
    reader = make_judge(name, chosen, judge_words, resolved)
    with JobProgress() as progress:
        result = calibration.calibrate(reader, progress)
    folder = out or Path("calibration") / f"{reader.name}-{chosen.name}"
    written = calibration.write_calibration(result, folder)
    print_table(calibration.table(result).rich())
    print_table(calibration.confusion(result).rich())
    if result.suggestion:
        words = " ".join(
            f"--judge-set {shlex.quote(f'{name}={value}')}"
            for name, value in result.suggestion.items()
        )
        say(f"balances the two errors on {result.suite}: {words}")
    for path in written:
        say(f"wrote {path}")
