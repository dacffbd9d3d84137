"""The unit of every figure is a fit: one action, learned once, from one draw of exemplars.

Images of a fit share its luck, so figures are made of a row a fit: how many of its images are right
by each measure. Several runs of one method that differ by their seeds alone are one method's fits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import pandas as pd

from actionbench.judge import PAIR

if TYPE_CHECKING:
    from numpy.typing import NDArray

MEASURES = ("action", "subject", "total", "neglect", "contamination")
"""What is counted on each image; all are shares of all images.

`total` needs action and subject on the same image. The two failures of the paper: `neglect` (the
subject is there, the action is not) and `contamination` (the action is there, the subject has
turned into somebody else). So subject = total + neglect and action = total + contamination.
"""

SEED, EXEMPLARS = "fit_seed", "exemplar_seed"
"""The columns of pooled verdicts that name a fit, beside its action."""


def pool(runs: Iterable[tuple[int, int, pd.DataFrame]]) -> pd.DataFrame:
    """Join verdicts of runs that differ by their seeds alone: (seed, exemplar seed, verdicts)."""
    frames = [rows.assign(**{SEED: seed, EXEMPLARS: drawn}) for seed, drawn, rows in runs]
    return pd.concat(frames, ignore_index=True)


def outcomes(verdicts: pd.DataFrame) -> pd.DataFrame:
    """Tabulate what is right: a Boolean column a measure, a row an image."""
    action = verdicts["action_correct"].astype(bool)
    subject = verdicts["subject_correct"].astype(bool)
    columns = (action, subject, action & subject, subject & ~action, action & ~subject)
    return pd.DataFrame(dict(zip(MEASURES, columns)))


@dataclass(frozen=True)
class Fits:
    """Right images by fit, ordered by action, then exemplars, then seed."""

    actions: tuple[str, ...]
    """By name; the arrays hold places in it."""
    action: NDArray[np.int64]
    exemplars: NDArray[np.int64]
    """The seed that drew the exemplars, [fits]."""
    seed: NDArray[np.int64]
    sizes: NDArray[np.int64]
    """Images, [fits]."""
    counts: dict[str, NDArray[np.int64]]
    """By measure, [fits]."""

    @property
    def names(self) -> NDArray[np.int64]:
        """What names each fit: its action's place, its exemplars' seed and its own, [3, fits]."""
        return np.stack([self.action, self.exemplars, self.seed])

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def repeated(self) -> bool:
        """Whether each action has two fits or more, so that their spread can be told."""
        return bool(len(self.actions) and self.per_action.min() > 1)

    @property
    def per_action(self) -> NDArray[np.int64]:
        """How many fits each action has, [actions]."""
        return np.bincount(self.action, minlength=len(self.actions))

    @property
    def draws(self) -> int:
        """The most draws of exemplars that an action has."""
        pairs = np.unique(np.stack([self.action, self.exemplars]), axis=1)
        return int(np.bincount(pairs[0]).max(initial=0))

    def by_action(self, measure: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Count right images and images of each action, [actions]."""
        places = len(self.actions)
        return (
            np.bincount(self.action, self.counts[measure], places).astype(np.int64),
            np.bincount(self.action, self.sizes, places).astype(np.int64),
        )

    def shares(self, measure: str) -> NDArray[np.float64]:
        """Compute each fit's share, [fits]."""
        return self.counts[measure] / self.sizes


def tabulate(verdicts: pd.DataFrame, extra: Mapping[str, NDArray[np.bool_]] | None = None) -> Fits:
    """Count the right images of each fit.

    Verdicts of one run have one fit an action; pooled ones (`pool`) one a seed and action. `extra`
    are more measures, [images].
    """
    return _Images.of(verdicts, extra).count(slice(None))


def tabulate_groups(verdicts: pd.DataFrame, by: str) -> dict[str, Fits]:
    """Count the right images of each fit in each group of a column, in the verdicts' order."""
    images = _Images.of(verdicts, None)
    codes, groups = pd.factorize(verdicts[by])
    return {str(group): images.count(codes == place) for place, group in enumerate(groups)}


@dataclass(frozen=True)
class _Images:
    """Verdicts as arrays [images]."""

    names: NDArray[np.str_]
    """The actions', [actions], sorted."""
    keys: NDArray[np.int64]
    """Place of the action, seed of the exemplars, seed of the fit: [3, images]."""
    columns: dict[str, NDArray[np.bool_]]
    """By measure."""

    @classmethod
    def of(cls, verdicts: pd.DataFrame, extra: Mapping[str, NDArray[np.bool_]] | None) -> Self:
        table = outcomes(verdicts)
        columns = {name: table[name].to_numpy() for name in MEASURES} | dict(extra or {})
        places, found = pd.factorize(verdicts["action"], sort=True)
        seeds = (
            verdicts[name].to_numpy(np.int64) if name in verdicts else np.zeros_like(places)
            for name in (EXEMPLARS, SEED)
        )
        return cls(np.asarray(found, dtype=str), np.stack([places, *seeds]), columns)

    def count(self, chosen: NDArray[np.bool_] | slice) -> Fits:
        """Count by fit, over the chosen images."""
        keys, fit = np.unique(self.keys[:, chosen], axis=1, return_inverse=True)
        fit, fits = fit.reshape(-1), keys.shape[1]
        own, action = np.unique(keys[0], return_inverse=True)
        return Fits(
            tuple(str(name) for name in self.names[own]),
            *(action.reshape(-1), keys[1], keys[2]),
            np.bincount(fit, minlength=fits).astype(np.int64),
            {
                name: np.bincount(fit, column[chosen], fits).astype(np.int64)
                for name, column in self.columns.items()
            },
        )


def shared_items(first: pd.DataFrame, second: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Keep the images of both that show items of both: action, subject and index.

    Raises:
        ValueError: if there is none, or if one fit has an item twice.
    """
    keys = []
    for verdicts in (first, second):
        names = [*PAIR, *(name for name in (EXEMPLARS, SEED) if name in verdicts)]
        if verdicts.duplicated(names).any():
            raise ValueError("a fit has the same item twice")
        keys.append(pd.MultiIndex.from_frame(verdicts[PAIR]))
    one, other = keys
    first, second = first[one.isin(other)], second[other.isin(one)]
    if first.empty:
        raise ValueError("the two runs have no item in common")
    return first, second
