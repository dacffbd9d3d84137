"""From answers to verdicts: which sessions count, and what the majority says of each image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from evaluation.people.gold import GOLD_ANSWERS, WRONG
from evaluation.people.questions import ANSWERS

if TYPE_CHECKING:
    from evaluation.people.labels import Labels

QUESTIONS = ("action", "subject")


@dataclass(frozen=True)
class Session:
    """A rater's sitting, and how it fares on gold."""

    id: int
    rater: str
    simulated: bool
    images: int
    """Images of runs that were answered about."""
    gold: int
    """Answers on gold, two a picture if both are known."""
    wrong: int
    """Wrong ones among them."""
    excluded: bool
    checked: bool
    """Whether there were gold answers enough to judge by, of the session or of its rater."""
    yes: float
    """The share of yes among all its answers about images."""
    seconds: float
    """Median of an image."""

    @property
    def reason(self) -> str:
        """Why it is excluded, or ""."""
        return f"{self.wrong} of {self.gold} gold answers wrong" if self.excluded else ""


def sessions(answers: pd.DataFrame) -> list[Session]:
    """Judge each session by its gold answers, by the rule of `gold.RULE`.

    Args:
        answers: `Labels.frame`.
    """
    gold = answers[answers["kind"] == "gold"]
    scores = []
    for question in QUESTIONS:
        known = gold[gold[f"{question}_truth"].notna()]
        right = known[f"{question}_answer"].eq(known[f"{question}_truth"].map(_word))
        scores.append(pd.DataFrame({"session": known["session"], "rater": known["rater"],
                                    "wrong": ~right.astype(bool)}))  # fmt: skip
    score = pd.concat(scores)
    found = []
    for number, part in answers.groupby("session", sort=True):
        rater = part["rater"].iloc[0]
        own = score[score["session"] == number]
        judged_by = own if len(own) >= GOLD_ANSWERS else score[score["rater"] == rater]
        checked = len(judged_by) >= GOLD_ANSWERS
        images = part[part["kind"] == "image"]
        yes = pd.concat([images[f"{question}_answer"] for question in QUESTIONS]).eq("yes")
        found.append(
            Session(
                id=int(part["session"].iloc[0]),
                rater=str(rater),
                simulated=bool(part["simulated"].iloc[0]),
                images=len(images),
                gold=len(judged_by),
                wrong=int(judged_by["wrong"].sum()),
                excluded=checked and float(judged_by["wrong"].mean()) > WRONG,
                checked=checked,
                yes=float(yes.mean()) if len(yes) else 0.0,
                seconds=float(images["seconds"].median()) if len(images) else 0.0,
            )
        )
    return found


def _word(truth: object) -> str:
    return "yes" if truth else "no"


def excluded_sessions(labels: Labels) -> list[int]:
    """Return the ids of the sessions whose answers do not count."""
    return [session.id for session in sessions(labels.frame()) if session.excluded]


def counted(answers: pd.DataFrame) -> pd.DataFrame:
    """Return the answers about runs' images, of sessions that count."""
    out = [session.id for session in sessions(answers) if session.excluded]
    return answers[(answers["kind"] == "image") & ~answers["session"].isin(out)]


def majority(answers: pd.DataFrame) -> pd.DataFrame:
    """Say what people find of each image, a row an image, by its path in the runs folder.

    Right is what more than half of an image's raters answer yes to; unsure is no yes. Columns:
    item, image, run, sha, probability, raters, and for each question `_correct`, `_yes` (the share
    of yes), `_split` (whether answers differ) and `_unsure` (whether any is unsure).

    Args:
        answers: what `counted` returns.
    """
    columns = ["item", "image", "run", "sha", "probability"]
    grouped = answers.groupby("item", sort=True)
    found = grouped[columns[1:]].first().reset_index()
    found["raters"] = grouped.size().to_numpy()
    for question in QUESTIONS:
        answer = answers[f"{question}_answer"]
        yes = answer.eq("yes").groupby(answers["item"]).mean().to_numpy()
        found[f"{question}_yes"] = yes
        found[f"{question}_correct"] = yes > 0.5
        kinds = answer.groupby(answers["item"]).nunique().to_numpy()
        found[f"{question}_split"] = kinds > 1
        found[f"{question}_unsure"] = answer.eq("unsure").groupby(answers["item"]).any().to_numpy()
    return found


def by_rater(answers: pd.DataFrame, question: str) -> pd.DataFrame:
    """Tabulate the answers to a question: a row an image, a column a rater, None where missing."""
    table = answers.pivot(index="item", columns="rater", values=f"{question}_answer")
    table = table.astype(object)
    return table.where(table.isin(ANSWERS), None)
