"""Who says which subject a picture shows, for a judge that reads the action alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from actionbench.errors import UserError
from actionbench.files.hashing import make_key, sha256_of
from actionbench.files.models import Network
from actionbench.judge import Verdict
from actionbench.suite.items import NONE, Item

if TYPE_CHECKING:
    from PIL.Image import Image

    from actionbench.puppets.training.subject_reader import SubjectReader
    from actionbench.suite.suite import Suite

FILES = ("config.json", "model.safetensors")
"""What the reader consists of."""

RULES = 1
"""Version of how the network's answers become verdicts; part of the fingerprint."""


class Subjects(Protocol):
    """The clip judge, or a reader of drawn subjects."""

    @property
    def fingerprint(self) -> str: ...

    @property
    def networks(self) -> tuple[Network, ...]: ...

    def judge(self, images: Sequence[Image], items: Sequence[Item]) -> list[Verdict]:
        """Verdicts of which the subject's part counts."""


class DrawnSubjects:
    """The network in a folder that names the drawn world's subjects, or none.

    The subject seen is the likeliest of all that the network knows; one whom the suite does not
    have is none.
    """

    networks: tuple[Network, ...] = ()

    def __init__(self, folder: Path, suite: Suite, device: str = "cpu") -> None:
        self.folder, self.suite, self.device = folder, suite, device

    @cached_property
    def fingerprint(self) -> str:
        missing = [name for name in FILES if not (self.folder / name).is_file()]
        if missing:
            raise UserError(f"{self.folder} is no reader of subjects: it lacks {missing[0]}")
        return make_key(*("subjects", RULES), *(sha256_of(self.folder / name) for name in FILES))

    @cached_property
    def reader(self) -> SubjectReader:
        from actionbench.puppets.training.subject_reader import SubjectReader

        reader = SubjectReader.load(self.folder, self.device)
        strange = [s.name for s in self.suite.subjects if s.name not in reader.subjects]
        if strange:
            raise UserError(
                f"the reader of subjects in {self.folder} does not know {', '.join(strange)}: "
                "train one on this suite's subjects, or take another judge"
            )
        return reader

    def judge(self, images: Sequence[Image], items: Sequence[Item]) -> list[Verdict]:
        known = {subject.name for subject in self.suite.subjects}
        names = self.reader.subjects
        verdicts = []
        for item, found in zip(items, self.reader.read(images), strict=True):
            seen = names[int(found.argmax())]
            score = float(found[names.index(item.subject.name)])
            seen = seen if seen in known else NONE
            verdicts.append(Verdict.naming(item, NONE, seen, 0.0, score))
        return verdicts
