"""The judge `human`: people's labels, where every image of a run has one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from actionbench.errors import UserError
from actionbench.files.hashing import make_key
from actionbench.judge import Judge, Verdict
from actionbench.settings import setting
from evaluation.people.questions import PROTOCOL, QUESTIONS

if TYPE_CHECKING:
    from PIL.Image import Image

    from actionbench.suite.items import Item


@dataclass(frozen=True)
class HumanSettings:
    labels: str = setting("runs/labels.sqlite", "The labels file of `actionbench annotate`.")


class HumanJudge(Judge):
    """People's labels by their majority, where all images of a run have some (`annotate`)."""

    name = "human"
    Settings = HumanSettings

    @cached_property
    def _verdicts(self) -> dict[tuple[str, str, str], tuple[float, float]]:
        """The share of yes to action and subject, by the picture's hash and what was asked."""
        from evaluation.people.labels import Labels
        from evaluation.people.verdicts import counted, majority

        labels = Labels(Path(self.settings.labels))
        answers = counted(labels.frame())
        asked = {item.id: (item.sha, item.action, item.subject) for item in labels.items("image")}
        found = majority(answers)
        rows = zip(found["item"], found["action_yes"], found["subject_yes"])
        return {asked[item]: (float(action), float(subject)) for item, action, subject in rows}

    @cached_property
    def fingerprint(self) -> str:
        return make_key(PROTOCOL, QUESTIONS, sorted([*k, *v] for k, v in self._verdicts.items()))

    def judge(self, images: Sequence[Image], items: Sequence[Item]) -> list[Verdict]:
        from evaluation.people.labels import pixels_hash

        verdicts = []
        for image, item in zip(images, items, strict=True):
            key = (pixels_hash(image), item.action.name, item.subject.name)
            if key not in self._verdicts:
                raise UserError(
                    f"{self.settings.labels} has no label of {item.id}: people judge a whole run "
                    "only if all its images are labelled; `actionbench report` corrects the model "
                    "judge by the labels that there are"
                )
            action, subject = self._verdicts[key]
            verdicts.append(Verdict(action > 0.5, subject > 0.5, "", "", action, subject))
        return verdicts
