"""The one interface that every system implements, and what a fit leaves behind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from PIL.Image import Image

from actionbench.device import out_of_memory
from actionbench.errors import UserError
from actionbench.files.hashing import canonical_json
from actionbench.files.kinds import KINDS, UNET, Kind
from actionbench.files.models import Network, from_hub
from actionbench.settings import NoSettings

if TYPE_CHECKING:
    from torch import Tensor

    from actionbench.diffusion.backbone import Backbone
    from actionbench.progress import Progress
    from actionbench.suite.items import ActionTask, Item

S = TypeVar("S")

Presets = Mapping[str, Mapping[str, Any]]
"""Changes to the default settings, by the name of the models that they are for."""

MEASURES = "measures"
"""The fact of a `Customization` in which a fit leaves numbers by name for reports; they come into
the run's record as well (`costs.ACTION.fit.measures`). The shipped methods leave:

- `relative_norm`: the identifier's norm over the median norm of the vocabulary's tokens; for one
  token a layer, their mean. Over about 5 prompts begin to be ignored (arXiv 2512.13672).
- `channels_kept`: ADI: the share of channels that the merged mask kept, the mean over all triples.
- `basis_words`: ReVersion: the words of the basis that the tokenizer knows as one token.
"""


@dataclass(frozen=True)
class Customization:
    """What a method learned of one action: a few tensors and plain facts, nothing pickled.

    Example:
        Customization("p-plus", "sit", backbone.fingerprint, {"vectors": v}, {"losses": [0.21]})
    """

    method: str
    """The method's `name`."""
    action: str
    """The action's name."""
    model: str
    """Fingerprint of the backbone that it was learned on."""
    tensors: Mapping[str, Tensor] = field(default_factory=dict, repr=False)
    facts: Mapping[str, Any] = field(default_factory=dict)
    """JSON values that `generate` needs besides the tensors."""


@dataclass(frozen=True)
class Work:
    """What one fit has the networks do, for estimates of its time and memory."""

    conditioned: int = 0
    """Samples that the frozen UNet takes forward, and backward to the text's states or to an
    adapter's weights."""
    trained: int = 0
    """Samples that the UNet takes forward, and backward to its own weights."""
    drawn: int = 0
    """Samples that the UNet takes forward: with guidance two a sampling step and image."""
    drawn_once: int = 0
    """As `drawn`, of what all fits of a run share."""
    texts: int = 0
    """Rows that the text encoder takes forward and backward."""
    batch: int = 0
    """Samples of one step among `conditioned`."""
    trained_batch: int = 0
    """Samples of one step among `trained`."""
    rows: int = 0
    """Rows of one step among `texts`."""


@dataclass(frozen=True)
class FitRequest:
    """One of several fits of `Method.fit_many`: the arguments that `fit` takes for it alone."""

    task: ActionTask
    seed: int
    progress: Progress


@dataclass(frozen=True)
class Variant:
    """A method with a few settings changed, as a row of an ablation."""

    label: str
    """As table and plot name it within its group."""
    method: str
    """The registered name: of the method that is taken apart, or of one beside it."""
    words: tuple[str, ...] = ()
    """Its `key=value` words; those of the method's own settings may be left out or given."""


@dataclass(frozen=True)
class Question:
    """A group of variants that answer one question of an ablation."""

    name: str
    """For `--only`."""
    title: str
    variants: tuple[Variant, ...]


def varied(method: str, setting: str, *values: str) -> tuple[Variant, ...]:
    """Make a variant of each value of one setting, labelled by the value."""
    return tuple(Variant(value, method, (f"{setting}={value}",)) for value in values)


class Method(ABC, Generic[S]):
    """One customization system: the interface that a plug-in implements.

    `fit` learns the task's action on the backbone; `generate` draws items with what was learned.
    Both leave the backbone exactly as it was. The same seed gives the same result.

    A method that learns an identifier is a `diffusion.token_learning.TokenMethod` and implements
    neither. Example of one that learns nothing:

        class Described(Method[NoSettings]):
            name, title, reference = "described", "Described", "unpublished"
            needs_fit, described = False, True

            def fit(self, backbone, task, *, seed, progress):
                return Customization(self.name, task.action.name, backbone.fingerprint)

            def generate(self, backbone, customization, items):
                prompts = [item.described_prompt for item in items]
                return backbone.generate(prompts, [item.seed for item in items])
    """

    name: ClassVar[str]
    title: ClassVar[str]
    """As boards print it: "Textual Inversion"."""
    reference: ClassVar[str]
    """Paper: venue and identifier."""
    Settings: ClassVar[type] = NoSettings
    """A frozen dataclass of `settings.setting` fields; defaults are the literature's."""
    presets: ClassVar[Presets] = {}
    """Substitutes by the backbone's preset name (`puppet-diffusion`, `sd-1.5`), in every profile:
    what a model lacks or needs of its own, such as words that it knows. `tiny` is `methods
    check`'s, if the method needs more than a pipeline there."""
    tuned: ClassVar[Presets] = {}
    """What a search chose (`actionbench tune`), by the backbone's preset name: profile `tuned`."""
    quick: ClassVar[Mapping[str, Any]] = {}
    """What the profile `quick` changes besides cutting steps."""
    recipes: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Published recipes besides the defaults, by the name that a setting `recipe` takes."""
    tunable: ClassVar[Mapping[str, tuple[float, float]]] = {}
    """What `actionbench tune` varies besides learning rate and steps: a setting's lowest and
    highest value to try, both above zero."""
    needs_fit: ClassVar[bool] = True
    """False for systems that learn nothing: `fit` is then not planned."""
    described: ClassVar[bool] = False
    """True if its prompts name the action in words (`Item.described_prompt`). If the text encoder
    has no room for them, the run is refused before it begins."""
    needs_backbone: ClassVar[bool] = True
    """False for rows that no model draws: `fit` and `generate` get None for it."""
    ranked: ClassVar[bool] = True
    """False for rows that only bound a board, a floor or a ceiling: boards show them without a
    rank, and `all` leaves them out."""
    lockstep: ClassVar[bool] = False
    """True if `fit_many` makes several fits faster than one after the other: a run then gives it
    several actions (`--fits-at-once`)."""
    kinds: ClassVar[Collection[str]] = (UNET.name,)
    """The kinds of models that it serves, by their names in `files.kinds.KINDS`; a run on another
    is refused. `methods check` tries all that are claimed."""
    unserved: ClassVar[Mapping[str, str]] = {}
    """Why it does not serve a kind, by its name: "ControlNets need a UNet"."""
    version: ClassVar[int] = 1
    """Raise it when the same settings no longer give the same result: fits are then made anew."""

    def __init__(self, settings: S | None = None) -> None:
        self.settings: S = self.Settings() if settings is None else settings

    @classmethod
    def refusal(cls, kind: Kind) -> str | None:
        """Say in a few words why it does not serve a kind of models; None if it does."""
        if kind.name in cls.kinds:
            return None
        return cls.unserved.get(kind.name, "it does not claim that kind (`Method.kinds`)")

    @property
    def fingerprint(self) -> str:
        """Hash of the files that the settings name, if any: with the settings, it is part of the
        key of what is stored. Computed without torch; UserError if they are missing."""
        return ""

    @property
    def networks(self) -> tuple[Network, ...]:
        """The networks that the settings name besides the base model, each with the class that
        loads it: `actionbench doctor` and `prefetch` compare their weights with what the class
        needs. Named without torch."""
        return ()

    @property
    def downloads(self) -> tuple[str, ...]:
        """Hub ids (`owner/name`, `owner/name@revision`) of what the settings name besides the base
        model: `actionbench prefetch` fetches them. Computed without torch; those of `networks` if
        not overridden."""
        return from_hub(*(network.path_or_id for network in self.networks))

    @classmethod
    def ablation(cls) -> Sequence[Question]:
        """Declare how `actionbench ablate` takes the method apart.

        Returns:
            Groups of variants; none by default. A variant names its method as it is registered,
            so that a group may set other methods beside this one.

        Example:
            return [Question("rate", "Rate", varied(cls.name, "learning_rate", "1e-3", "1e-2"))]
        """
        return ()

    def fit_work(self, exemplars: int, layers: int) -> Work | None:
        """Say what a fit costs, for `actionbench doctor` and for the budget of `actionbench tune`.

        Called without torch's being loaded.

        Args:
            exemplars: of the action.
            layers: cross-attention layers of the model.

        Returns:
            None if the method does not say: doctor then gives no estimate for it, and tune counts
            its settings `steps` x `batch_size`.
        """
        return None

    def shared(self, task: ActionTask, seed: int) -> tuple[str, ...]:
        """Name what a fit draws beforehand into `backbone.drawn` and other fits can use as well.

        A name is a hash of all that it is drawn from, except the base model. What is drawn is kept
        in the runs folder, so that it is drawn once for all fits, runs and workers. Computed
        without a backbone.

        Args:
            task: as `fit` gets it.
            seed: as `fit` gets it.

        Returns:
            Keys of `backbone.drawn`; none by default.
        """
        return ()

    def check_task(self, task: ActionTask) -> None:
        """Refuse exemplars that cannot be learned from, as `fit` would, before a run begins.

        Called by `actionbench doctor`; computed without torch.

        Raises:
            UserError: one line that says what is missing.
        """

    @abstractmethod
    def fit(
        self, backbone: Backbone, task: ActionTask, *, seed: int, progress: Progress
    ) -> Customization:
        """Learn one action from its exemplars.

        Args:
            backbone: the diffusion model; left as it was, bit for bit, also after an exception.
            task: the action and its exemplars (image, caption, template with `{}` in place of the
                action, keypoints or None).
            seed: decides all that is random; torch's global generator plays no part.
            progress: `progress.update(done, total, what)` from time to time.

        Returns:
            What was learned, under this method's name, the action's and the backbone's
            fingerprint.

        Raises:
            UserError: exemplars or settings that cannot be worked with, a fit that diverged.
        """

    def fit_many(
        self, backbone: Backbone, requests: Sequence[FitRequest]
    ) -> Iterator[Customization | Exception]:
        """Learn several actions on one backbone, by default one after the other.

        A method that overrides it makes a fit in company what it is alone, but for rounding.

        Args:
            backbone: as `fit` has it.
            requests: task, seed and progress of each fit.

        Yields:
            What became of each, in order: what was learned, or what made this fit fail, which
            leaves the others alone.

        Raises:
            Exception: what concerns all of them, such as too little memory: the caller then tries
                fewer at once.
        """
        for request in requests:
            try:
                fitted = self.fit(
                    backbone, request.task, seed=request.seed, progress=request.progress
                )
            except Exception as error:  # of any kind: it is this fit's alone
                if out_of_memory(error):
                    raise
                yield error
            else:
                yield fitted

    @abstractmethod
    def generate(
        self, backbone: Backbone, customization: Customization, items: Sequence[Item]
    ) -> Iterator[Image]:
        """Draw items with what was learned.

        Args:
            backbone: as `fit` had it; left as it was whenever an image is handed out, because the
                caller may stop there.
            customization: what `fit` returned, from memory or from the store.
            items: each with its prompt (`slot_prompt`, `described_prompt`) and its noise `seed`.

        Returns:
            One RGB image an item, in the items' order. An image depends on its own item, not on
            those drawn beside it.

        Raises:
            UserError: a customization that does not fit the backbone.
        """


def check_kind(method: Method[Any], kind: Kind, model: str) -> None:
    """Raise UserError if a method does not serve a model's kind.

    Args:
        model: its name, for the message.
    """
    if why := method.refusal(kind):
        served = "; ".join(KINDS[name].title for name in method.kinds if name in KINDS)
        raise UserError(
            f"{method.name} cannot be run on {model} ({kind.title}): {why}; it serves {served}"
        )


def check_fitted(fitted: Any, *, method: str, action: str, model: str) -> None:
    """Raise UserError if a fit returned something else than was asked, or what is not finite."""
    if not isinstance(fitted, Customization):
        raise UserError(
            f"fit returned a {type(fitted).__name__}, not a Customization: fix the method"
        )
    stated = (fitted.method, fitted.action, fitted.model)
    expected = (method, action, model)
    if stated != expected:
        raise UserError(f"the fit says it is of {stated}, not {expected}: fix the method")
    try:
        canonical_json(fitted.facts)
    except (TypeError, ValueError) as error:
        raise UserError(f"the fit's facts are no JSON ({error}): fix the method") from error
    for key, tensor in fitted.tensors.items():
        if not bool(tensor.isfinite().all()):
            raise UserError(
                f"the fit diverged ({key} is not finite): lower its learning rate with --set, "
                "or use --dtype float32"
            )


def check_images(images: Iterable[Any], wanted: int) -> Iterator[Image]:
    """Hand on a method's images; raise UserError if one is no image, or if their number is off."""
    count = 0
    for count, image in enumerate(images, 1):
        if not isinstance(image, Image):
            raise UserError(f"drew a {type(image).__name__}, not an image: fix the method")
        if count > wanted:
            break
        yield image
    if count != wanted:
        more = "or more " if count > wanted else ""
        raise UserError(f"drew {count} images {more}for {wanted} items: fix the method")
