"""Registered claims: what was said before it was measured, and what became of it.

A claim is *kept* if every part of it holds at 5% after Holm's correction over the claims of its
suite and profile, *failed* if it was measured as registered and is not kept, and *cannot be told*,
with the reason, as long as it was not measured as registered.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from scipy.optimize import brentq

from actionbench.errors import UserError, unknown
from actionbench.registry import method_names
from actionbench.runs.options import Profile, Prompts
from evaluation.measures.accuracy import Estimand, spread
from evaluation.measures.comparison import ALPHA, compare_fits, holm, p_text
from evaluation.measures.fits import EXEMPLARS, MEASURES, SEED, Fits, tabulate
from evaluation.tables import Table

if TYPE_CHECKING:
    from leaderboards.board import Board, BoardRow

REGISTERED = Path(__file__).with_name("claims.yaml")
Test = Literal["difference", "share"]
Verdict = Literal["kept", "failed", "cannot be told"]
UNITS: dict[str, str] = {"actions at large": "action", "these actions": "fit"}


@dataclass(frozen=True)
class Claim:
    """What is claimed, and all that decides whether it holds."""

    name: str
    claim: str
    """In words."""
    test: Test
    """`difference`: each of `above` is above each of `below`; `share`: each of `above` is over
    `over`."""
    measure: str
    above: tuple[str, ...]
    below: tuple[str, ...]
    over: float | None
    of: Estimand
    unit: str
    """`action` for actions at large, `fit` for these actions."""
    actions: int
    seeds: int
    """Fits of each action, with the seeds from 0 on; further ones are not looked at."""
    suite: str
    profile: str
    block: str

    @property
    def family(self) -> tuple[str, str]:
        """The claims that are corrected together."""
        return self.suite, self.profile

    @property
    def registered(self) -> str:
        """Suite, profile, block, test, unit and n, in words."""
        bound = "" if self.over is None else f" over {100 * self.over:g}%"
        seeds = f"{self.actions} actions x {self.seeds} fit{'' if self.seeds == 1 else 's'}"
        return (
            f"{self.suite}, {self.profile}, prompts {self.block}; {self.test} of {self.measure}"
            f"{bound}; {self.of}, unit {self.unit}, {seeds}"
        )


@dataclass(frozen=True)
class Judged:
    """What became of a claim."""

    claim: Claim
    verdict: Verdict
    why: str
    p_value: float | None = None
    corrected: float | None = None


def read_claims(path: Path) -> list[Claim]:
    """Read a file of claims.

    Raises:
        UserError: if it cannot be read, or a claim lacks a part, has an unknown one, or names an
            unknown method, measure, profile or block.
    """
    import yaml

    try:
        entries = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): name another file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} is no YAML ({reason}): correct it there") from error
    if not isinstance(entries, list) or not entries:
        raise UserError(
            f"{path}: must be a list of claims, as {REGISTERED.name} of leaderboards is"
        )
    claims = []
    for number, entry in enumerate(entries, 1):
        name = entry.get("name", number) if isinstance(entry, Mapping) else number
        try:
            claims.append(_claim(entry))
        except UserError as problem:
            raise UserError(f"{path}, claim {name}: {problem}") from problem
    names = [claim.name for claim in claims]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"{path}: two claims are named {', '.join(twice)}")
    return claims


_PARTS = (
    "name",
    "claim",
    "test",
    "measure",
    "above",
    "of",
    "unit",
    "n",
    "suite",
    "profile",
    "block",
)
_MORE = {"difference": "below", "share": "over"}


def _claim(entry: Any) -> Claim:
    if not isinstance(entry, Mapping):
        raise UserError("must be names with values")
    _choice("test", entry.get("test"), get_args(Test))
    wanted = (*_PARTS, _MORE[entry["test"]])
    for part in wanted:
        if part not in entry:
            raise UserError(f"'{part}' is missing: add it")
    for part in entry:
        if part not in wanted:
            raise unknown("part", str(part), wanted)
    for part, valid in (
        ("measure", MEASURES),
        ("of", get_args(Estimand)),
        ("profile", get_args(Profile)),
        ("block", get_args(Prompts)),
    ):
        _choice(part, entry[part], valid)
    _choice("unit", entry["unit"], (UNITS[entry["of"]],))
    methods = {part: entry.get(part, []) for part in ("above", "below")}
    for part, listed in methods.items():
        if not isinstance(listed, list) or (part in wanted and not listed):
            raise UserError(f"'{part}' must be a list of methods, as [adi]")
        for method in listed:
            if method not in method_names():
                raise unknown("method", str(method), method_names())
    both = sorted({*methods["above"]} & {*methods["below"]})
    if both:
        raise UserError(f"{', '.join(both)} cannot be above itself: leave it out of one part")
    n = entry["n"]
    if not isinstance(n, Mapping) or n.keys() != {"actions", "seeds"}:
        raise UserError("'n' must be {actions: NUMBER, seeds: NUMBER}")
    for part, number in n.items():
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise UserError(f"'n.{part}' must be a whole number from 1 on")
    over = entry.get("over")
    if "over" in wanted and not (isinstance(over, float) and 0 < over < 1):
        raise UserError("'over' must be a share between 0 and 1, as 0.8")
    return Claim(
        **{part: entry[part] for part in _PARTS if part not in ("above", "n")},
        above=tuple(methods["above"]),
        below=tuple(methods["below"]),
        over=over,
        actions=n["actions"],
        seeds=n["seeds"],
    )


def _choice(part: str, value: Any, valid: Sequence[str]) -> None:
    if value not in valid:
        raise unknown(part, str(value), valid)


def judge_claims(claims: Sequence[Claim], board: Board) -> list[Judged]:
    """Say of every claim what became of it, in their order."""
    found = [_judge(claim, board) for claim in claims]
    families: dict[tuple[str, str], list[int]] = {}
    for place, judged in enumerate(found):
        families.setdefault(judged.claim.family, []).append(place)
    for places in families.values():
        p_values = [math.nan if (p := found[place].p_value) is None else p for place in places]
        # A claim that is not measured yet counts as a member all the same.
        for place, corrected in zip(places, holm(p_values), strict=True):
            if not math.isnan(corrected):
                verdict: Verdict = "kept" if corrected < ALPHA else "failed"
                found[place] = replace(found[place], verdict=verdict, corrected=corrected)
    return found


def add_claims(board: Board, claims: Sequence[Claim] | None = None) -> Board:
    """Add to a board what became of claims: by default of the registered ones about its suites."""
    if claims is None:
        suites = {row.record.suite for group in board.groups for row in group.rows}
        claims = [claim for claim in read_claims(REGISTERED) if claim.suite in suites]
    return replace(board, claims=tuple(judge_claims(claims, board)))


def _judge(claim: Claim, board: Board) -> Judged:
    """Judge a claim by itself; its verdict still waits for the correction."""
    tables: dict[str, Fits] = {}
    for method in dict.fromkeys((*claim.above, *claim.below)):
        rows = [row for row in _rows(claim, board) if row.method == method and not row.partial]
        if len(rows) != 1:
            many = f"{len(rows)} rows of {method}" if rows else f"no complete run of {method}"
            where = f"suite {claim.suite}, profile {claim.profile}, prompts {claim.block}"
            return Judged(claim, "cannot be told", f"{many} on {where}")
        problem, fits = _registered(claim, rows[0])
        if fits is None:
            return Judged(claim, "cannot be told", f"{method} {problem}")
        tables[method] = fits
    if len({fits.actions for fits in tables.values()}) > 1:
        return Judged(claim, "cannot be told", "the methods were not measured on the same actions")
    parts = _differences(claim, tables) if claim.test == "difference" else _shares(claim, tables)
    p_values = [p for p, _ in parts]
    why = "; ".join(words for _, words in parts)
    if any(math.isnan(p) for p in p_values):
        return Judged(claim, "cannot be told", f"{why}: one fit of an action, or too few actions")
    return Judged(claim, "failed", why, max(p_values))


def _rows(claim: Claim, board: Board) -> list[BoardRow]:
    """The rows that a claim is about, with the methods' own settings."""
    return [
        row
        for group in board.groups
        for row in group.rows
        if (row.record.suite, row.record.profile, row.record.prompts)
        == (claim.suite, claim.profile, claim.block)
        and not row.record.changed_settings
        and row.record.dtype == "float32"
    ]


def _registered(claim: Claim, row: BoardRow) -> tuple[str, Fits | None]:
    """Count a row's fits as they were registered; None and why if it was not measured so."""
    verdicts = row.verdicts
    first = verdicts[EXEMPLARS].min()
    verdicts = verdicts[(verdicts[EXEMPLARS] == first) & (verdicts[SEED] < claim.seeds)]
    measured = sorted({seed for seed, _ in row.seeds})
    missing = [seed for seed in range(claim.seeds) if (seed, first) not in row.seeds]
    if missing:
        return f"has seeds {measured}, and {missing} are registered as well", None
    fits = tabulate(verdicts)
    if len(fits.actions) != claim.actions:
        return f"has {len(fits.actions)} actions, {claim.actions} are registered", None
    return "", fits


def _differences(claim: Claim, tables: Mapping[str, Fits]) -> list[tuple[float, str]]:
    """Test each pair; a difference the other way is no support, whatever its p-value."""
    parts = []
    for above in claim.above:
        for below in claim.below:
            one = compare_fits(tables[above], tables[below], claim.measure, claim.of)
            words = f"{above} − {below} {one.points}, p {one.p_text}"
            parts.append((1.0 if one.difference <= 0 else one.p_value, words))
    return parts


def _shares(claim: Claim, tables: Mapping[str, Fits]) -> list[tuple[float, str]]:
    """Test each share by its interval: the p-value is the level at which it leaves the bound."""
    assert claim.over is not None
    parts = []
    for method in claim.above:
        fits = tables[method]
        found = spread(fits, claim.measure, claim.of)
        share = float(fits.counts[claim.measure].sum() / fits.sizes.sum())
        p = math.nan if found is None else _p_above(found, share, claim.over)
        parts.append((p, f"{method} {100 * share:.1f}%, p {p_text(p)}"))
    return parts


def _p_above(found: Any, share: float, bound: float) -> float:
    """Compute the two-sided p-value at which an interval's lower end is the bound."""
    if share <= bound:
        return 1.0

    def lower(p: float) -> float:
        return float(np.asarray(found.interval(1 - p)[0])) - bound

    smallest, largest = 1e-9, 0.999
    if lower(smallest) >= 0:
        return smallest
    # At p near 1 an exact interval's end may still lie under the bound.
    return float(brentq(lower, smallest, largest)) if lower(largest) > 0 else 1.0


def claims_table(judged: Sequence[Judged]) -> Table:
    """Tabulate every claim with what became of it."""
    rows = [
        (one.claim.name, one.claim.registered, one.verdict, p_text(one.corrected), one.why)
        for one in judged
    ]
    columns = ("Claim", "Registered", "Verdict", "p (Holm)", "Measured, or why not")
    return Table("Registered claims", columns, rows, left=("Registered", "Verdict", columns[-1]))


def flat_claims(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    """List every claim, as registered, with what became of it, for board.json."""
    return [
        {
            **asdict(one.claim),
            "verdict": one.verdict,
            "measured": one.why,
            "p_value": one.p_value,
            "p_holm": one.corrected,
        }
        for one in judged
    ]
