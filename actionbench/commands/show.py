"""`actionbench show`."""

from __future__ import annotations

from pathlib import Path

import click

from actionbench.commands.options import FILE, dataset_option, names, runs_option
from actionbench.commands.prepare import find_runs
from actionbench.printing import say
from actionbench.runs.store import Store


@click.command()
@click.argument("run_ids", metavar="RUN [RUN...]", nargs=-1, required=True)
@click.option("--actions", callback=names, metavar="A,B", help="Default: the first run's.")
@click.option("--subjects", callback=names, metavar="A,B",
              help="These, groups of them (human, celebrity, animal), or `all`; "
              "default: a few of each group.")  # fmt: skip
@dataset_option
@runs_option
@click.option("--out", type=FILE, metavar="FILE",
              help="Default: `grid.png` in the run's folder; of several runs `comparison.png` "
              "here.")  # fmt: skip
def show(
    run_ids: tuple[str, ...], actions: list[str] | None, subjects: list[str] | None,
    suite: str | None, runs: Path, out: Path | None,
) -> None:  # fmt: skip
    """Write a labelled picture of a run, exemplars and generated images; or compare several runs.

    RUN is a run's id or the beginning of one; see `actionbench runs list`. Exemplars are shown as
    the runs folder keeps them; the dataset may be elsewhere.
    """
    from evaluation.pictures import write_comparison, write_grid

    store = Store(runs)
    shown = find_runs(store, run_ids)
    if len(shown) == 1:
        file = out or store.run_folder(shown[0]) / "grid.png"
        write_grid(store.root, shown[0], file, actions=actions, subjects=subjects, suite=suite)
    else:
        file = out or Path("comparison.png")
        write_comparison(store.root, shown, file, actions=actions, subjects=subjects, suite=suite)
    say(f"wrote {file}")
