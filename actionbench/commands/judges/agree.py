"""`actionbench judges agree`."""

from __future__ import annotations

from pathlib import Path

import click

from actionbench.commands.display import print_table
from actionbench.commands.options import FILE, runs_option
from actionbench.errors import UserError
from actionbench.printing import say
from actionbench.runs.store import Store


@click.command("agree")
@click.argument("run_ids", metavar="[RUN...]", nargs=-1)
@runs_option
@click.option("--out", type=FILE, metavar="FILE",
              help="Default: `report/judges.csv` in the runs folder.")  # fmt: skip
def compare_judges(run_ids: tuple[str, ...], runs: Path, out: Path | None) -> None:
    """Compare the verdicts of every two judges on the images that both have judged.

    Of the runs named, each with all that judged the same images; of all runs if none is named.
    """
    from evaluation.judges import agreement

    store = Store(runs)
    named = [store.find_run(run_id) for run_id in run_ids]
    pairs = agreement.compare_judges(store, named or None)
    if not pairs:
        raise UserError(
            f"no images in {runs} have two judges: "
            "`actionbench judges run RUN --judge NAME` adds one"
        )
    written = agreement.write_agreement(pairs, out or store.root / "report" / "judges.csv")
    print_table(agreement.table(pairs).rich())
    say(f"wrote {written}")
