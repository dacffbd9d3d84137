"""Who does what in the training's pictures: the one file that knows how drawings are made."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np

from actionbench.puppets.drawing.backdrop import BACKDROPS
from actionbench.puppets.drawing.looks import OTHERS, SUBJECTS, Look, random_person, varied
from actionbench.puppets.drawing.pose import (
    DEVELOPMENT,
    KNOWN,
    Pose,
    action_pose,
    free_pose,
    known_pose,
    loose_pose,
)
from actionbench.puppets.drawing.quadruped import STANCES, Stance, four_legged
from actionbench.puppets.drawing.scene import Scene, draw
from actionbench.puppets.training.captions import Facts
from actionbench.puppets.training.recipe import Recipe
from actionbench.suite.items import Action, paper_actions, paper_subjects

__all__ = ["Sampled", "draw", "judging_scene", "posing_scene", "pretraining_scene"]

Rng = np.random.Generator

OTHER = "other"
"""Label of a pose that has no name."""


class Sampled(NamedTuple):
    scene: Scene
    row: dict[str, Any]
    """The facts that captions are made of, and labels: `group` (named, other, person), `animal`,
    `four_legged`, `kind` of pose (known, free, exact, loose, silent; stance on four legs),
    `subject`, `pose`."""


class Somebody(NamedTuple):
    group: str
    subject: str
    """One of the 23 names, or `none`."""
    facts: Facts
    look: Look

    @property
    def animal(self) -> bool:
        return self.look.beast is not None


def all_actions() -> tuple[Action, ...]:
    """The eight and the development actions."""
    return (*paper_actions(), *(Action(name, words) for name, words in DEVELOPMENT.items()))


def _pick(rng: Rng, values: list[Any]) -> Any:
    return values[int(rng.integers(len(values)))]


def _in_a_sentence(phrase: str) -> str:
    """A subject's phrase with a small article: "a panda", "Batman"."""
    article, space, noun = phrase.partition(" ")
    return f"{article.lower()} {noun}" if space and article in ("A", "An", "The") else phrase


def somebody(rng: Rng, recipe: Recipe) -> Somebody:
    """One of the 23, another named character, or a person without a name."""
    group = rng.random()
    if group < recipe.names:
        subject = _pick(rng, list(paper_subjects()))
        facts = Facts(name=_in_a_sentence(subject.phrase))
        return Somebody("named", subject.name, facts, varied(SUBJECTS[subject.name], rng))
    if group < recipe.names + recipe.others:
        other = OTHERS[_pick(rng, list(OTHERS))]
        facts = Facts(name=_in_a_sentence(other.phrase))
        return Somebody("other", "none", facts, varied(other.look, rng))
    features, look = random_person(rng)
    return Somebody("person", "none", Facts(looks=features), look)


def _posed(rng: Rng, kind: str) -> tuple[str, Pose, str]:
    """Words, pose and label of a kind of pose."""
    if kind in ("known", "silent"):
        label = _pick(rng, list(KNOWN))
        return (KNOWN[label].words if kind == "known" else ""), known_pose(label, rng), label
    if kind == "free":
        does, pose = free_pose(rng)
        return does, pose, OTHER
    action = _pick(rng, list(all_actions()))
    if kind == "exact":
        return action.description, action_pose(action.name, rng), action.name
    return action.description, loose_pose(action.name, rng), OTHER


def _scene(
    rng: Rng, who: Somebody, kind: str, does: str, pose: Pose | Stance, label: str
) -> Sampled:
    backdrop = _pick(rng, list(BACKDROPS))
    where = BACKDROPS[backdrop][0]
    facts = Facts(who.facts.name, who.facts.looks, does, where)
    scene = Scene(facts.name, does, where, who.look, pose, backdrop, int(rng.integers(2**63)))
    row = {
        **asdict(facts),
        "group": who.group,
        "subject": who.subject,
        "animal": who.animal,
        "four_legged": isinstance(pose, Stance),
        "kind": kind,
        "pose": label,
    }
    return Sampled(scene, row)


def _on_four_legs(rng: Rng, who: Somebody) -> Sampled:
    stance = _pick(rng, list(STANCES))
    words = _pick(rng, list(STANCES[stance]))
    return _scene(rng, who, "stance", words, four_legged(stance, rng), OTHER)


def _kind(rng: Rng, kinds: dict[str, float]) -> str:
    names, weights = list(kinds), np.array(list(kinds.values()))
    return names[int(rng.choice(len(names), p=weights / weights.sum()))]


def pretraining_scene(rng: Rng, recipe: Recipe) -> Sampled:
    """One picture for the base model, as it would be found on the web.

    All kinds of poses are drawn; how often training sees each is set by the recipe.
    """
    described = recipe.described_share
    kinds = {
        "known": recipe.known_share,
        "free": recipe.free_share,
        "exact": described / 2,
        "loose": described / 2,
        "silent": 1 - recipe.known_share - recipe.free_share - described,
    }
    who, kind = somebody(rng, recipe), _kind(rng, kinds)
    if who.animal and rng.random() < recipe.four_legged:
        return _on_four_legs(rng, who)
    return _scene(rng, who, kind, *_posed(rng, kind))


def judging_scene(rng: Rng, recipe: Recipe) -> Sampled:
    """One labelled picture for the judges: every kind of pose, more often one of the 23."""
    who = somebody(rng, recipe)
    if who.group == "person" and rng.random() < 0.6:
        who = somebody(rng, recipe)
    if who.animal and rng.random() < 0.5:
        return _on_four_legs(rng, who)
    kind = _kind(rng, {"exact": 0.4, "known": 0.2, "free": 0.25, "loose": 0.15})
    return _scene(rng, who, kind, *_posed(rng, kind))


def posing_scene(rng: Rng, recipe: Recipe) -> Sampled:
    """One picture for the ControlNet: poses that are no benchmark action."""
    who = somebody(rng, recipe)
    if who.animal and rng.random() < recipe.four_legged / 2:
        return _on_four_legs(rng, who)
    kind = _kind(rng, {"known": 0.4, "free": 0.6})
    return _scene(rng, who, kind, *_posed(rng, kind))
