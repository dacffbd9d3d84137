"""`actionbench power`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from actionbench.commands.display import print_table
from actionbench.commands.options import numbers, runs_option
from actionbench.errors import UserError
from actionbench.printing import say

if TYPE_CHECKING:
    from evaluation.measures.accuracy import Estimand
    from evaluation.measures.power import Power
    from evaluation.tables import Table
    from leaderboards.board import Group


@click.command()
@runs_option
@click.option("--suite", metavar="NAME_OR_PATH", help="Only runs on this suite.")
@click.option("--reference", metavar="NAME_OR_DIR", help="A kept measurement in place of runs.")
@click.option("--actions", callback=numbers, default="8,16,32,48", show_default=True,
              metavar="A,B", help="Numbers of actions.")  # fmt: skip
@click.option("--seeds", callback=numbers, default="1,2,3,6", show_default=True,
              metavar="A,B", help="Numbers of fits of each action.")  # fmt: skip
@click.option("--gaps", callback=numbers, default="5,10,15,20", show_default=True,
              metavar="A,B", help="Differences to tell, in points.")  # fmt: skip
@click.option("--budget", callback=numbers, metavar="A,B",
              help="Images that people label, over all rows of a board; default: 300, or 40 a row "
              "if that is more, as `labels plan` takes.")  # fmt: skip
@click.option("--family", type=click.IntRange(1), metavar="N",
              help="Comparisons that are corrected together; default: one.")  # fmt: skip
def power(
    runs: Path, suite: str | None, reference: str | None, actions: list[int], seeds: list[int],
    gaps: list[int], budget: list[int] | None, family: int | None,
) -> None:  # fmt: skip
    """Say how many actions, seeds and labels tell a gap, by the variance of stored runs.

    For two methods of each board: the smallest difference that a design detects in 80% of cases,
    and how many actions a gap takes; two-sided tests at 5%, the median over pairs of methods. What
    several seeds are worth is known only from runs with several. Then what people's labels buy: how
    wide the interval of their total accuracy is by labels alone, with the judge's verdicts, and at
    the floor that no number of labels passes; with --budget also of a board with one method.
    """
    from evaluation.measures.comparison import ALPHA, least_p
    from evaluation.measures.power import can_tell
    from leaderboards import build_board
    from leaderboards.reference import find_reference

    board = build_board(find_reference(reference) if reference else runs, suite)
    known = [
        group
        for group in board.groups
        if group.power is not None or (budget and any(not row.partial for row in group.rows))
    ]
    if not known:
        lacking = "a complete run" if budget else "two complete methods on two actions"
        raise UserError(
            f"no board of {reference or runs} has {lacking}: `actionbench run --method a,b` "
            f"makes one{'' if budget else '; what labels buy of one method, --budget says'}"
        )
    alpha = ALPHA / (family or 1)
    for group in known:
        say(group.heading)
        if group.power is None:
            say(
                "What actions and seeds tell cannot be said: it is read from the difference of two "
                "complete methods on two actions; `actionbench run --method a,b` makes them."
            )
            _say_labels(group, budget)
            continue
        for of in ("actions at large", "these actions"):
            print_table(detectable_table(group.power, of, actions, seeds, alpha).rich())
        print_table(needed_table(group.power, gaps, seeds, alpha).rich())
        if group.power.constant:
            say("–: cannot be told; no two methods' difference varies from action to action.")
        elif all(pair.fit is None for pair in group.power.pairs):
            say(
                "–: cannot be told; each action has one fit, and what lies between fits is not "
                "known: run further seeds with --seed."
            )
        few = [count for count in actions if not can_tell(count, 1, "actions at large", alpha)]
        if few:
            least = least_p(max(few), "actions at large")
            say(
                f"With {', '.join(map(str, few))} actions at large no difference is told, however "
                f"large: the smallest p of {max(few)} is {least:.2g}, and {alpha:.2g} is asked for."
            )
        _say_labels(group, budget)


def _say_labels(group: Group, budgets: list[int] | None) -> None:
    """Say what labelling budgets buy for the rows of a board."""
    from evaluation.people.budget import expect, summary, table
    from evaluation.people.plan import MIN_LABELS, default_budget, labels_each

    rows = [row for row in group.rows if not row.partial]
    few = [row.name for row in rows if row.done < MIN_LABELS]
    if few:
        say(
            f"What labels buy cannot be told: {', '.join(few)} has fewer than {MIN_LABELS} images, "
            "from which nothing is estimated."
        )
        return
    bought = []
    for budget in budgets or [default_budget(len(rows))]:
        labels = labels_each(budget, len(rows))
        bought.append([expect(row.verdicts, labels, row=row.name) for row in rows])
    print_table(table([one for each in zip(*bought, strict=True) for one in each]).rich())
    for each in bought:
        say(summary(each))


def detectable_table(
    found: Power, of: Estimand, actions: list[int], seeds: list[int], alpha: float
) -> Table:
    """Tabulate the smallest detectable difference of designs."""
    from evaluation.tables import Table

    rows = []
    for count in actions:
        values = [found.detectable(count, number, of, alpha) for number in seeds]
        rows.append((count, *(None if v is None else f"{100 * v:.1f}" for v in values)))
    return Table(
        f"Smallest detectable difference, points, {of}",
        ("actions", *(_seeds(number) for number in seeds)),
        rows,
    )


def needed_table(found: Power, gaps: list[int], seeds: list[int], alpha: float) -> Table:
    """Tabulate how many actions a gap takes."""
    from evaluation.tables import Table

    rows = [(gap, *(found.needed(gap / 100, number, alpha) for number in seeds)) for gap in gaps]
    columns = ("gap, points", *(_seeds(number) for number in seeds))
    return Table("Actions that a gap takes, actions at large", columns, rows)


def _seeds(number: int) -> str:
    return f"{number} fit{'' if number == 1 else 's'} each"
