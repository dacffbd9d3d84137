"""The one interface that every system implements, and what a fit leaves behind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

from PIL.Image import Image

from actionbench.errors import UserError
from actionbench.files.hashing import canonical_json
from actionbench.settings import NoSettings, build_settings

if TYPE_CHECKING:
    from torch import Tensor

    from actionbench.diffusion.backbone import Backbone
    from actionbench.progress import Progress
    from actionbench.suite.items import ActionTask, Item

S = TypeVar("S")

Presets = Mapping[str, Mapping[str, Any]]
"""Changes to the default settings, by the name of the models that they are for."""


@dataclass(frozen=True)
class Customization:
    """What a method learned of one action: a few tensors and plain facts, nothing pickled."""

    method: str
    action: str
    model: str
    """Fingerprint of the backbone that it was learned on."""
    tensors: Mapping[str, Tensor] = field(default_factory=dict, repr=False)
    facts: Mapping[str, Any] = field(default_factory=dict)
    """JSON values that `generate` needs besides the tensors."""


@dataclass(frozen=True)
class Work:
    """What one fit has the networks do, for estimates of its time and memory."""

    conditioned: int = 0
    """Samples that the frozen UNet takes forward, and backward to the text's states."""
    trained: int = 0
    """Samples that the UNet takes forward, and backward to its own weights."""
    drawn: int = 0
    """Samples that the UNet takes forward: with guidance two a sampling step and image."""
    drawn_once: int = 0
    """As `drawn`, for what all fits of a run share."""
    texts: int = 0
    """Rows that the text encoder takes forward and backward."""
    batch: int = 0
    """Samples of one step among `conditioned`."""
    trained_batch: int = 0
    """Samples of one step among `trained`."""
    rows: int = 0
    """Rows of one step among `texts`."""


class Method(ABC, Generic[S]):
    """One customization system.

    `fit` learns the task's action on the backbone; `generate` draws items with what was learned.
    Both leave the backbone exactly as they found it. The same seed gives the same result.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    """As boards print it: "Textual Inversion"."""
    reference: ClassVar[str]
    """Paper: venue and identifier."""
    Settings: ClassVar[type] = NoSettings
    """A frozen dataclass of `settings.setting` fields; defaults are the literature's."""
    presets: ClassVar[Presets] = {}
    """Changes to the defaults by the backbone's preset name (`puppet-diffusion`, `sd-2.1`); `tiny`
    is `methods check`'s, for a method that needs more than a pipeline."""
    tunable: ClassVar[Mapping[str, tuple[float, float]]] = {}
    """What `actionbench tune` varies besides learning rate and steps: a setting's lowest and
    highest value to try, both above zero."""
    needs_fit: ClassVar[bool] = True
    """False for systems that learn nothing: `fit` is then not planned."""
    version: ClassVar[int] = 1
    """Raised when the same settings no longer give the same result: stored fits are then remade."""

    def __init__(self, settings: S | None = None) -> None:
        self.settings: S = self.Settings() if settings is None else settings

    @classmethod
    def for_model(cls, preset: str | None, words: Sequence[str] = ()) -> Self:
        """With the settings for models of a preset, changed by the user's `key=value` words."""
        return cls(build_settings(cls.Settings, cls.presets.get(preset or "", {}), words))

    @property
    def fingerprint(self) -> str:
        """Hash of the files that the settings name, if any: with the settings, it is part of the
        key of what is stored. Computed without torch; UserError where they are missing."""
        return ""

    @property
    def downloads(self) -> tuple[str, ...]:
        """Hub ids (`owner/name`, `owner/name@revision`) of what the settings name besides the base
        model: `actionbench prefetch` fetches them. Computed without torch."""
        return ()

    def fit_work(self, exemplars: int, layers: int) -> Work | None:
        """What a fit on so many exemplars costs on a model of so many cross-attention layers, for
        `actionbench doctor`; None where it is not told."""
        return None

    def check_task(self, task: ActionTask) -> None:
        """Raise UserError for exemplars that cannot be learned from, as `fit` would: for
        `actionbench doctor`, before a run begins. Computed without torch."""

    @abstractmethod
    def fit(
        self, backbone: Backbone, task: ActionTask, *, seed: int, progress: Progress
    ) -> Customization: ...

    @abstractmethod
    def generate(
        self, backbone: Backbone, customization: Customization, items: Sequence[Item]
    ) -> Iterator[Image]:
        """One RGB image an item, in the items' order."""


def check_fitted(fitted: Any, *, method: str, action: str, model: str) -> None:
    """Raise UserError for what a fit may not return: something else than asked, or not finite."""
    if not isinstance(fitted, Customization):
        raise UserError(f"fit returned a {type(fitted).__name__}, not a Customization")
    told = (fitted.method, fitted.action, fitted.model)
    expected = (method, action, model)
    if told != expected:
        raise UserError(f"the fit says it is of {told}, not {expected}: mend the method")
    try:
        canonical_json(fitted.facts)
    except (TypeError, ValueError) as error:
        raise UserError(f"the fit's facts are no JSON ({error}): mend the method") from error
    for key, tensor in fitted.tensors.items():
        if not bool(tensor.isfinite().all()):
            raise UserError(
                f"the fit diverged ({key} is not finite): lower its learning rate with --set, "
                "or use --dtype float32"
            )


def check_images(images: Iterable[Any], wanted: int) -> Iterator[Image]:
    """Hand on a method's images; UserError for what is no image, and for too few or too many."""
    count = 0
    for count, image in enumerate(images, 1):
        if not isinstance(image, Image):
            raise UserError(f"drew a {type(image).__name__}, not an image: mend the method")
        if count > wanted:
            break
        yield image
    if count != wanted:
        more = "or more " if count > wanted else ""
        raise UserError(f"drew {count} images {more}for {wanted} items: mend the method")
