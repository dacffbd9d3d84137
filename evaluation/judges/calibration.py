"""How right is a judge? Measured on the exemplars, whose actions are known.

Every exemplar is shown with each of the suite's actions in question: its own, which the judge
should see, and the others, which it should not. A judge that looks at exemplars does not see the
one that it is asked about.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from actionbench.judge import Judge, verdicts_of
from actionbench.progress import SILENT, Progress
from actionbench.suite.items import NONE, Action, Item, paper_actions
from actionbench.suite.suite import Suite
from evaluation.experiments.measured import shares_json
from evaluation.measures.accuracy import Share, clustered, wilson
from evaluation.tables import Table, write_texts


@dataclass(frozen=True)
class ActionCalibration:
    action: str
    right: Share
    """Its own exemplars in which the judge sees it; Wilson's interval."""
    false: Share
    """The other actions' exemplars in which the judge sees it as well."""
    seen: Mapping[str, int]
    """Its exemplars, by each action that the judge sees in them, and `none`: the row of the
    confusion matrix. A judge that says yes or no may see several."""


@dataclass(frozen=True)
class Calibration:
    suite: str
    suite_fingerprint: str
    judge: str
    judge_fingerprint: str
    device: str
    actions: tuple[ActionCalibration, ...]
    right: Share
    """Exemplars in which the judge sees their action, all actions together; the interval is
    clustered by action."""
    false: Share
    """Questions for another action than the exemplar's that the judge answers with yes."""
    suggestion: Mapping[str, Any]
    """Settings that balance the two errors; empty if the judge has none to set, and on a suite
    with one of the eight actions, on which nothing is tuned."""
    scores: np.ndarray = field(repr=False, compare=False)
    """[exemplars, actions]: the judge's probability of each action."""


def calibrate(judge: Judge, progress: Progress = SILENT) -> Calibration:
    """Measure a judge on its suite's exemplars, each left out of what the judge looks at."""
    suite = judge.suite
    actions, subject = suite.actions, suite.subjects[0]
    exemplars = [
        (number, exemplar)
        for number, action in enumerate(actions)
        for exemplar in suite.tasks[action.name].exemplars
    ]
    truth = np.array([number for number, _ in exemplars])
    yes, scores = [], []
    for done, (_, exemplar) in enumerate(exemplars, 1):
        # The subject is nobody's: exemplars show people whom the suite does not know.
        items = [Item(action, subject, 0) for action in actions]
        other = judge.without([exemplar.id])
        verdicts = verdicts_of(other, [exemplar.image] * len(items), items)
        yes.append([verdict.action_correct for verdict in verdicts])
        scores.append([verdict.action_score for verdict in verdicts])
        progress.update(done, len(exemplars), "exemplars")
    seen, probabilities = np.array(yes), np.array(scores)
    own = np.arange(len(actions)) == truth[:, None]
    names = np.array([action.name for action in actions], dtype=object)
    spread = np.broadcast_to(names[truth][:, None], own.shape)
    return Calibration(
        suite=suite.name,
        suite_fingerprint=suite.fingerprint,
        judge=judge.name,
        judge_fingerprint=judge.fingerprint,
        device=judge.device,
        actions=tuple(
            ActionCalibration(
                action=action.name,
                right=wilson(int(seen[own[:, n], n].sum()), int(own[:, n].sum())),
                false=wilson(int(seen[~own[:, n], n].sum()), int((~own[:, n]).sum())),
                seen=_row(seen[truth == n], actions),
            )
            for n, action in enumerate(actions)
        ),
        right=clustered(seen[own], names[truth]),
        false=clustered(seen[~own], spread[~own]),
        suggestion=judge.suggest(probabilities, truth) if may_tune(suite) else {},
        scores=probabilities,
    )


def _row(seen: np.ndarray, actions: Sequence[Action]) -> dict[str, int]:
    counts = {a.name: int(count) for a, count in zip(actions, seen.sum(0), strict=True)}
    return {**counts, NONE: int((~seen.any(1)).sum())}


def may_tune(suite: Suite) -> bool:
    """Whether a judge's settings may be chosen on a suite: not with the benchmark's actions."""
    eight = {action.name for action in paper_actions()}
    return not eight & {action.name for action in suite.actions}


def table(calibration: Calibration) -> Table:
    """Tabulate the two errors: a row an action, and one for all."""
    rows = [
        *((a.action, a.right, a.false) for a in calibration.actions),
        ("all", calibration.right, calibration.false),
    ]
    return Table(
        f"{calibration.judge} on the exemplars of {calibration.suite}",
        ("action", "exemplars", "seen, % [95%]", "false alarms, % [95%]"),
        [(name, right.n, right.text(), false.text()) for name, right, false in rows],
    )


def confusion(calibration: Calibration) -> Table:
    """Tabulate the confusion matrix: a row an action."""
    names = list(calibration.actions[0].seen)
    return Table(
        "Exemplars (rows) by what the judge sees in them",
        ("shown", *names),
        [(a.action, *(a.seen[name] for name in names)) for a in calibration.actions],
    )


def write_calibration(calibration: Calibration, out: Path) -> list[Path]:
    """Write calibration.json, and the confusion matrix as calibration.csv."""
    facts = {
        **{k: v for k, v in asdict(calibration).items() if k not in ("actions", "scores")},
        **shares_json({"right": calibration.right, "false": calibration.false}),
        "actions": {
            a.action: {**shares_json({"right": a.right, "false": a.false}), "seen": dict(a.seen)}
            for a in calibration.actions
        },
        "scores": calibration.scores.round(6).tolist(),
    }
    texts = {
        "calibration.json": json.dumps(facts, indent=1) + "\n",
        "calibration.csv": confusion(calibration).csv(),
    }
    return write_texts(out, texts)
