"""What can be asked of a run: the one home of every default.

The command line, `doctor`, campaigns and the Python API all take a `RunOptions`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, get_args

from actionbench.device import BATCH_SIZE, Resources
from actionbench.errors import UserError

Device = Literal["auto", "cpu", "cuda"]
Dtype = Literal["float32", "float16", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class RunOptions(Resources):
    """All that a run is made with but the method and its settings.

    The fields of `Resources` (`gradient_checkpointing`, `vae_slicing`, `offload`, `compile`) are
    options as well.

    Raises UserError for a value that is none of the choices, or a number below one.
    """

    suite: str = "puppets"
    """A suite's name, or one's own: its folder or YAML file."""
    actions: tuple[str, ...] | None = None
    """Names out of the suite; None is all of them."""
    subjects: tuple[str, ...] | None = None
    """Names out of the suite, or groups of them (`animal`); None is all of them."""
    images_per_pair: int = 2
    """Images of each action and subject."""
    seed: int = 0
    """Of the fits and of the images' noise."""
    model: str | None = None
    """Base model instead of the suite's own: a preset, a folder or a Hub id."""
    device: Device = "auto"
    """Part of no key: a run may go on elsewhere."""
    dtype: Dtype = "float32"
    batch_size: int = BATCH_SIZE
    """Images drawn at once: speed and memory, and no key."""
    runs: Path = Path("runs")
    """Folder of the stored runs."""
    judge: str | None = None
    """Judge instead of the suite's own."""
    judge_words: tuple[str, ...] = ()
    """`key=value` settings of the judge."""

    def __post_init__(self) -> None:
        for name in ("actions", "subjects", "judge_words"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, tuple):
                # A bare string would be taken letter by letter.
                words = (value,) if isinstance(value, str) else tuple(value)
                object.__setattr__(self, name, words)
        object.__setattr__(self, "runs", Path(self.runs))
        for name, choices in (("device", get_args(Device)), ("dtype", get_args(Dtype))):
            if getattr(self, name) not in choices:
                raise UserError(
                    f"{name} '{getattr(self, name)}': choose one of {', '.join(choices)}"
                )
        for name in ("images_per_pair", "batch_size"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be 1 or more, not {getattr(self, name)}")

    @property
    def resources(self) -> Resources:
        """What saves memory or time."""
        return Resources(**{part.name: getattr(self, part.name) for part in fields(Resources)})


DEFAULTS = RunOptions()
"""What is done if nothing else is asked for."""
