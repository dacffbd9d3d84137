"""What the commands about people's labels share."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from actionbench.commands.display import JobProgress, print_table
from actionbench.commands.options import FILE, runs_words
from actionbench.commands.prepare import find_runs
from actionbench.errors import UserError
from actionbench.printing import say
from actionbench.runs.store import Store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evaluation.people.labels import Labels
    from evaluation.people.study import StudyOptions

labels_option = click.option(
    "--labels", "file", type=FILE, metavar="FILE",
    help="The labels file.  [default: labels.sqlite in the runs folder]",
)  # fmt: skip
budget_option = click.option(
    "--budget", type=click.IntRange(1), metavar="N",
    help="Images to label, if a study begins.  [default: 300, or 40 a row if that is more]",
)  # fmt: skip
plan_options = (
    budget_option,
    click.option("--seed", default=0, show_default=True, help="Which images, in which order."),
    click.option("--overlap", default=0.1, show_default=True, type=click.FloatRange(0.1, 1),
                 help="The share of images that three raters see."),
    click.option("--no-gold", is_flag=True,
                 help="Neither a training round nor pictures with known answers."),
)  # fmt: skip


def rater_name(name: str) -> str:
    """Check a rater's name: something to read, in one line."""
    name = name.strip()
    if not name or len(name) > 60 or not name.isprintable():
        raise click.BadParameter("a rater's name has 1 to 60 characters, in one line")
    return name


rater_option = click.option(
    "--rater", required=True, metavar="NAME",
    callback=lambda _context, _option, name: rater_name(name),
)  # fmt: skip


def labels_file(runs: Path, file: Path | None) -> Path:
    """Return the labels file that is named, or that of the runs folder."""
    from evaluation.people.labels import NAME

    return file or runs / NAME


def open_labels(runs: Path, file: Path | None) -> Labels:
    """Open the labels file that is named, or that of the runs folder."""
    from evaluation.people.labels import Labels

    return Labels(labels_file(runs, file))


def labels_words(runs: Path, file: Path | None) -> str:
    """Write the options for a suggested command."""
    return runs_words(runs) + (f" --labels {shlex.quote(str(file))}" if file else "")


def begin(store: Store, names: Sequence[str], path: Path, options: StudyOptions) -> Labels:
    """Begin a study of the named runs, and say what its labels will buy."""
    from evaluation.people.budget import bought, table
    from evaluation.people.study import begin_study

    if not names:
        raise UserError("name the runs to label: `actionbench runs list` has them")
    run_ids = find_runs(store, names)
    with JobProgress() as progress:
        labels = begin_study(store, run_ids, path, options, progress)
    items = labels.items("image")
    several = sum(item.raters > 1 for item in items)
    say(
        f"planned {len(items)} images of {len(run_ids)} row{'' if len(run_ids) == 1 else 's'} in "
        f"{path}; {several} of them are for "
        f"three raters, so {sum(item.raters for item in items)} answers in all"
    )
    print_table(table([bought(store, run_id, items) for run_id in run_ids]).rich())
    return labels
