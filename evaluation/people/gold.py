"""Pictures whose right answers are known: for the training round, and mixed in to check raters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from actionbench.errors import UserError
from actionbench.suite.shipped import PUPPETS

if TYPE_CHECKING:
    from PIL.Image import Image

    from actionbench.suite.items import Action, Subject
    from actionbench.suite.suite import Suite

TRAINING = 6
"""Pictures of the training round; their answers count for nothing."""
EVERY = 12
"""Of so many pictures one is gold, at a place that differs from rater to rater."""
MOST = 48
"""Gold pictures of a study at most; each rater sees each once."""
GOLD_ANSWERS = 8
"""Fewest gold answers (two a picture) by which a session is judged."""
WRONG = 0.25
"""A session with a larger share of wrong gold answers is excluded. Who errs in 5% of answers is
excluded by eight in 1 session of 170; who answers all yes, in every one, as half are no."""

RULE = (
    f"A session is excluded if more than {WRONG:.0%} of its answers on gold pictures are wrong, "
    f"unsure included; one with fewer than {GOLD_ANSWERS} of them is judged by all sessions of its "
    "rater together, and kept if these are too few as well."
)

_TRUTHS = ((True, True), (False, True), (True, False), (False, False))


@dataclass(frozen=True)
class Gold:
    """A picture, what is asked about it, and the right answers; None is not known."""

    action: Action
    subject: Subject
    picture: Image
    action_truth: bool | None
    subject_truth: bool | None


def gold_pictures(suite: Suite, count: int, side: int, seed: int) -> list[Gold]:
    """Make pictures with known answers, half of them no.

    Of a suite that this project draws, its own drawings of the asked or of another action and
    subject, as large as the images among which they are mixed. Of photographs, the exemplars of the
    asked or another action, asked about an animal, which none of them shows.

    Args:
        side: the images' pixels.
    """
    rng = np.random.default_rng((seed, 77))
    if suite.exemplar_file.is_relative_to(PUPPETS):
        return [*_drawings(suite, _first_world, count, side, rng)]
    if all(suite.tasks[action.name].poses for action in suite.actions):
        return [*_drawings(suite, _drawn_world, count, side, rng)]
    return [*_exemplars(suite, count, rng)]


def _other(rng: np.random.Generator, among: tuple[Subject, ...], than: Subject) -> Subject:
    """Somebody of another group if there is one: nobody should take a dog for a fox."""
    others = [s for s in among if s.category != than.category] or [s for s in among if s != than]
    return others[int(rng.integers(len(others)))]


def _first_world(
    suite: Suite, action: Action, subject: Subject, side: int, rng: np.random.Generator
) -> Image:
    """Draw a subject in an action as the puppets' first version does."""
    from actionbench.puppets.backdrop import BACKDROPS
    from actionbench.puppets.looks import SUBJECTS
    from actionbench.puppets.pose import action_pose
    from actionbench.puppets.scene import Scene, draw

    scene = Scene(
        who=subject.phrase,
        does=action.description,
        where="",
        look=SUBJECTS[subject.name],
        pose=action_pose(action.name, rng),
        backdrop=list(BACKDROPS)[int(rng.integers(len(BACKDROPS)))],
        seed=int(rng.integers(2**31)),
    )
    return draw(scene, side)[0]


def _drawn_world(
    suite: Suite, action: Action, subject: Subject, side: int, rng: np.random.Generator
) -> Image:
    """Draw a subject in an action as drawn suites do."""
    from actionbench.puppets.drawing.holding import anywhere, held
    from actionbench.puppets.drawing.looks import SUBJECTS, varied
    from actionbench.puppets.drawing.scene import draw

    look = varied(SUBJECTS[subject.name], rng)
    return draw(anywhere(look, held(suite.tasks[action.name].poses, rng), rng), side)[0]


def _drawings(
    suite: Suite,
    draw: Callable[[Suite, Action, Subject, int, np.random.Generator], Image],
    count: int,
    side: int,
    rng: np.random.Generator,
) -> Iterator[Gold]:
    for number in range(count):
        right_action, right_subject = _TRUTHS[number % len(_TRUTHS)]
        action = suite.actions[int(rng.integers(len(suite.actions)))]
        subject = suite.subjects[int(rng.integers(len(suite.subjects)))]
        others = [a for a in suite.actions if a != action]
        shown = action if right_action else others[int(rng.integers(len(others)))]
        who = subject if right_subject else _other(rng, suite.subjects, subject)
        picture = draw(suite, shown, who, side, rng)
        yield Gold(action, subject, picture, right_action, right_subject)


def _exemplars(suite: Suite, count: int, rng: np.random.Generator) -> Iterator[Gold]:
    animals = [s for s in suite.subjects if s.category == "animal"]
    subjects = animals or list(suite.subjects)
    if len(suite.actions) < 2:
        raise UserError(
            f"suite {suite.name} has one action, of which no picture is wrong: plan with --no-gold"
        )
    for number in range(count):
        right = number % 2 == 0
        action = suite.actions[int(rng.integers(len(suite.actions)))]
        others = [a for a in suite.actions if a != action]
        shown = action if right else others[int(rng.integers(len(others)))]
        exemplars = suite.tasks[shown.name].exemplars
        picture = exemplars[int(rng.integers(len(exemplars)))].image
        subject = subjects[int(rng.integers(len(subjects)))]
        yield Gold(action, subject, picture, right, False if animals else None)
