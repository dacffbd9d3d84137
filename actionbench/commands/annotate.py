"""`actionbench annotate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from actionbench.commands.display import end_with
from actionbench.commands.labels.options import (
    begin,
    budget_option,
    labels_file,
    labels_option,
    rater_name,
)
from actionbench.commands.options import runs_option
from actionbench.commands.prepare import find_runs
from actionbench.errors import UserError
from actionbench.printing import say
from actionbench.runs.store import Store

if TYPE_CHECKING:
    from evaluation.people.labels import Labels


@click.command()
@click.argument("run_ids", metavar="[RUN...]", nargs=-1)
@click.option("--rater", "raters", multiple=True, required=True, metavar="NAME",
              callback=lambda _context, _option, names: [rater_name(name) for name in names],
              help="Who labels; several get a link each.")  # fmt: skip
@budget_option
@labels_option
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS",
              help="0.0.0.0 lets other machines in, whoever has a link.")  # fmt: skip
@click.option("--port", default=8765, show_default=True, metavar="N", help="0 takes any.")
@runs_option
def annotate(
    run_ids: tuple[str, ...], raters: list[str], budget: int | None, file: Path | None,
    host: str, port: int, runs: Path,
) -> None:  # fmt: skip
    """Label images in a browser: serve a page for each rater, and save every answer at once.

    Begins a study of the named runs, or goes on with the one that is there. Ctrl-C stops the page;
    the same command goes on.
    """
    from evaluation.people.labels import Labels
    from evaluation.people.page.server import LabelServer, is_loopback
    from evaluation.people.study import Study, StudyOptions

    store, path = Store(runs), labels_file(runs, file)
    if path.exists():
        labels = Labels(path)
        _check_same(labels, store, run_ids, budget)
    else:
        labels = begin(store, run_ids, path, StudyOptions(budget))
    study = Study(labels, store)
    with LabelServer(study, list(dict.fromkeys(raters)), host, port) as server:
        for number, problem in server.passed.items():
            say(f"image {number} is left out: {problem}", err=True)
        if not is_loopback(host):
            say(
                "The page can be reached from other machines, unencrypted: who has a link can "
                "label in that rater's name."
            )
        for rater, link in server.links().items():
            say(f"{rater}: {link}")
        say("Ctrl-C stops; answers are saved as they are given")
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            say(f"stopped; {len(labels.labels())} answers in {path}")
        end_with([])


def _check_same(labels: Labels, store: Store, run_ids: tuple[str, ...], budget: int | None) -> None:
    """Refuse to go on with a study of other runs, or with another budget, than were asked for."""
    meta = labels.meta()
    other = [run for run in find_runs(store, run_ids) if run not in meta["runs"]]
    if other:
        raise UserError(
            f"{labels.path} is a study of {', '.join(meta['runs'])}, without {', '.join(other)}: "
            "name another file with --labels"
        )
    if budget is not None and budget != meta["budget"]:
        raise UserError(
            f"{labels.path} was planned with {meta['budget']} images, and a plan does not change: "
            "leave --budget out, or name another file with --labels"
        )
