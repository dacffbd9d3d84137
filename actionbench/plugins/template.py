"""The package that `actionbench methods new NAME` writes: a method that works, to be changed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from string import Template

from actionbench.errors import UserError

_PROJECT = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "actionbench-$name"
version = "0.1.0"
description = "$title, a method for ActionBench"
requires-python = ">=3.11"
dependencies = ["actionbench"]

[project.entry-points."actionbench.methods"]
$name = "$module:$class_name"

[tool.setuptools]
py-modules = ["$module"]
"""

_METHOD = '''\
"""$title: what makes it itself, in a sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from actionbench.diffusion.token_learning import TokenMethod, TokenSettings
from actionbench.method import Presets
from actionbench.settings import setting

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Settings(TokenSettings):
    """What all token-learning methods share, and this method's own."""

    steps: int = setting(500, "optimisation steps", low=1)
    layerwise: bool = setting(True, "one token for each cross-attention layer; false: one for all")


class $class_name(TokenMethod[Settings]):
    """An identifier [L, 1, D], learned by the denoising loss on the exemplars."""

    name = "$name"
    title = "$title"
    reference = "unpublished"
    Settings = Settings
    tuned: ClassVar[Presets] = {
        "puppet-diffusion": {"steps": 400, "batch_size": 3, "learning_rate": 1e-2}
    }
    version = 1  # raise it when the same settings no longer give the same result

    def layers(self, available: int) -> int:
        return available if self.settings.layerwise else 1

    def rule(self, gradients: Tensor) -> tuple[Tensor, Tensor | None]:
        """From the samples' gradients [B, L, N, D] to the update's [L, N, D], and who may move.

        Their mean, and all (None): plain token learning. Begin here, or with another hook of
        TokenMethod (`start`, `batches`, `extra_loss`, `after_step`), and delete this one if it
        stays as it is: without it the samples share one gradient, which costs less.
        """
        return gradients.mean(0), None
'''

_TEST = """\
from $module import $class_name

from actionbench.plugins.conformance import check_method


def test_it_keeps_the_interfaces_promises() -> None:
    assert not [result for result in check_method($class_name) if not result.passed]
"""

_README = """\
# $title

A method for ActionBench.

```bash
pip install -e .
actionbench methods check $name    # does it keep the interface's promises?
actionbench run --method $name     # the whole puppets suite
actionbench report                 # its row on the board
```
"""

_FILES = {
    "pyproject.toml": _PROJECT,
    "$module.py": _METHOD,
    "test_$module.py": _TEST,
    "README.md": _README,
}


def write_skeleton(name: str, folder: Path, taken: Iterable[str]) -> list[Path]:
    """Write a method's package into a new folder.

    Args:
        name: of the method: small letters, digits and single hyphens.
        folder: is made.
        taken: names that the method may not have.

    Returns:
        The package's files.

    Raises:
        UserError: a name that is malformed or taken, or a folder that exists.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise UserError(
            f"'{name}' is no name for a method: small letters, digits and single hyphens, "
            "a letter first (my-method)"
        )
    if name in taken or name == "all":
        raise UserError(f"the name '{name}' is taken: `actionbench methods list` shows them all")
    class_name = "".join(part.capitalize() for part in name.split("-"))
    if re.search(rf"\b{class_name}\b", _METHOD):
        raise UserError(f"the class {class_name} would hide another of that name: take another")
    values = {
        "name": name,
        "title": name.replace("-", " ").capitalize(),
        "module": f"actionbench_{name.replace('-', '_')}",
        "class_name": class_name,
    }
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        raise UserError(f"{folder} exists already: name another with --out") from error
    written = []
    for path, text in _FILES.items():
        written.append(folder / Template(path).substitute(values))
        written[-1].write_text(Template(text).substitute(values), "utf-8")
    return written
