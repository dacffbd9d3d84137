"""The options of a run: the one home of every default.

The command line, `doctor`, campaigns and the Python API all take a `RunOptions`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, get_args

from actionbench.device import BATCH_SIZE, Resources
from actionbench.errors import UserError
from actionbench.suite.drawn import EXEMPLAR_SEED, EXEMPLARS

Device = Literal["auto", "cpu", "cuda"]
Dtype = Literal["float32", "float16", "bfloat16"]
Profile = Literal["published", "tuned", "quick"]
Prompts = Literal["own", "caption", "template"]

_CHOICES = {"device": Device, "dtype": Dtype, "profile": Profile, "prompts": Prompts}


@dataclass(frozen=True, kw_only=True)
class RunOptions(Resources):
    """Everything that a run is made with, except the method and its settings.

    Each field has a default, and lists are taken for tuples. The fields of `Resources`
    (`gradient_checkpointing`, `vae_slicing`, `offload`, `compile`) are options as well.

    Raises:
        UserError: for a value that is not one of the choices, or a number below one.

    Example:
        >>> options = ab.RunOptions(suite="puppets-dev", actions=["point"], images_per_pair=1)
        >>> result = ab.run("adi", options=options)
    """

    suite: str = "puppets"
    """A shipped suite's name, or the folder or YAML file of your own."""
    actions: tuple[str, ...] | None = None
    """Names of the suite's actions; None is all of them."""
    subjects: tuple[str, ...] | None = None
    """Names of the suite's subjects, or of groups of them (`animal`); None is all of them."""
    images_per_pair: int = 2
    """Images of each action and subject."""
    seed: int = 0
    """The seed of the fits and of the images' noise."""
    profile: Profile = "published"
    """Where the methods' settings come from: each one's paper, with rates by one rule for any base
    model; the search on development actions; or the demo's short fits."""
    prompts: Prompts = "own"
    """What methods train under: each one's own kind of prompts, or one kind for all."""
    model: str | None = None
    """Base model instead of the suite's own: a preset, a folder or a Hub id."""
    device: Device = "auto"
    """It is not in a key: a run may go on on another device."""
    dtype: Dtype = "float32"
    """The number format of the base model; it is in the keys."""
    batch_size: int = BATCH_SIZE
    """Images drawn at once. It changes speed and memory and is not in a key."""
    workers: int | None = None
    """Units of work that are done at once, each in a process of its own; 1 is this process alone.
    None is one a GPU, or on a CPU one a core, as far as there is work and memory. The results do
    not depend on it."""
    fits_at_once: int | None = None
    """Actions that a token-learning method fits in lockstep, by one pass through the model. None is
    as many as a GPU's memory holds and its workers leave, and 1 on a CPU. It changes the results
    by rounding only, and is in a run's record and in no key."""
    ray: str | None = None
    """Work on a Ray cluster instead: `local`, `auto`, or its head's host:port."""
    runs: Path = Path("runs")
    """Folder of the stored runs."""
    judge: str | None = None
    """Judge instead of the suite's own."""
    judge_words: tuple[str, ...] = ()
    """`key=value` changes to the judge's settings."""
    exemplar_seed: int = EXEMPLAR_SEED
    """Which exemplars methods learn from, on a suite that is drawn; judges keep the suite's own."""
    exemplars: int = EXEMPLARS
    """How many exemplars of an action methods learn from, on a suite that is drawn: 1 to 20."""

    def __post_init__(self) -> None:
        for name in ("actions", "subjects", "judge_words"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, tuple):
                # A plain string would be taken letter by letter.
                words = (value,) if isinstance(value, str) else tuple(value)
                object.__setattr__(self, name, words)
        object.__setattr__(self, "runs", Path(self.runs))
        for name, kind in _CHOICES.items():
            if getattr(self, name) not in (choices := get_args(kind)):
                raise UserError(
                    f"{name} '{getattr(self, name)}': choose one of {', '.join(choices)}"
                )
        for name in ("images_per_pair", "batch_size", "workers", "fits_at_once"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise UserError(f"{name} must be 1 or more, not {getattr(self, name)}")

    @property
    def resources(self) -> Resources:
        """The options that save memory or time."""
        return Resources(**{part.name: getattr(self, part.name) for part in fields(Resources)})

    @property
    def redraws_exemplars(self) -> bool:
        """Whether methods learn from other exemplars than the suite's own."""
        return (self.exemplar_seed, self.exemplars) != (EXEMPLAR_SEED, EXEMPLARS)


DEFAULTS = RunOptions()
"""The options with all defaults."""
