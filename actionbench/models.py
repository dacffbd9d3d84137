"""Which base model, ControlNet or judge's network: a folder or a Hub id, checked without torch."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actionbench.errors import UserError, one_line

NETWORKS = ("vae", "unet", "text_encoder")
COMPONENTS = (*NETWORKS, "tokenizer", "scheduler")
"""What a Stable-Diffusion-shaped pipeline is made of, each in a folder of its own."""

BATCH_SIZE = 32
"""Images drawn at once where nothing else is asked for."""

_WEIGHTS = re.compile(r"(diffusion_pytorch_)?model(-\d+-of-\d+)?\.safetensors")
"""The files that diffusers loads when no variant is asked for."""

_PASSING_FACTS = {"_diffusers_version", "_name_or_path", "transformers_version", "torch_dtype"}
"""Facts in configs that say who wrote the file, not what the model is."""


@dataclass(frozen=True)
class ModelSource:
    path: Path
    """A local folder in the diffusers format."""
    name: str
    """As boards print it: the Hub id, or the folder's name."""
    preset: str | None
    """Which of a method's `presets` suits it; from `actionbench.json` in the folder."""
    fingerprint: str
    """Hash of the weights, configs, classes and tokenizer, 16 hexadecimal digits."""


@dataclass(frozen=True)
class ControlNetSource:
    path: Path
    """A local folder in the diffusers format."""
    name: str
    """The Hub id, or the folder's name."""
    config: dict[str, Any]
    fingerprint: str
    """Hash of the weights and config, 16 hexadecimal digits."""


@dataclass(frozen=True)
class NetworkSource:
    """A model of transformers: one network with its tokenizer or image processor."""

    path: Path
    """A local folder in the transformers format."""
    name: str
    """The Hub id, or the folder's name."""
    fingerprint: str
    """Hash of the weights, configs, tokenizer and templates, 16 hexadecimal digits."""


def resolve_model(path_or_id: str) -> ModelSource:
    """The model in a local folder, or of a Hub id (`owner/name`, `owner/name@revision`).

    Raises UserError where it is missing, damaged, or not shaped like Stable Diffusion 1 or 2.
    """
    wanted = [f"{part}/*" for part in COMPONENTS]
    return _read_folder(
        *_fetched(path_or_id, "model", ["model_index.json", "actionbench.json", *wanted])
    )


def resolve_controlnet(path_or_id: str) -> ControlNetSource:
    """The ControlNet in a local folder, or of a Hub id (`owner/name`, `owner/name@revision`).

    Raises UserError where it is missing or damaged.
    """
    folder, name = _fetched(path_or_id, "ControlNet", ["config.json", "*.safetensors"])
    config = folder / "config.json"
    if not config.is_file():
        raise UserError(f"{folder} is not a ControlNet folder: config.json is missing")
    weights = sorted(path for path in folder.iterdir() if _WEIGHTS.fullmatch(path.name))
    if not weights:
        raise UserError(f"{folder} holds no safetensors weights")
    digest = hashlib.sha256(_hash_config(config).encode())
    for path in weights:
        digest.update(_hash_weights(path).encode())
    return ControlNetSource(folder.resolve(), name, _read_json(config), digest.hexdigest()[:16])


_NETWORK_FILES = ("*.json", "*.txt", "*.jinja", "*.model", "model*.safetensors")


def resolve_network(path_or_id: str, kind: str) -> NetworkSource:
    """The model of transformers in a local folder, or of a Hub id (`owner/name[@revision]`).

    `kind` says in messages what it is for: "clip judge's model". Raises UserError where it is
    missing or damaged.
    """
    folder, name = _fetched(path_or_id, kind, [*_NETWORK_FILES])
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} is not a {kind}: config.json is missing")
    files = sorted({path for pattern in _NETWORK_FILES for path in folder.glob(pattern)})
    if not any(_WEIGHTS.fullmatch(path.name) for path in files):
        raise UserError(f"{folder} holds no safetensors weights")
    digest = hashlib.sha256()
    for path in files:
        if path.suffix == ".safetensors":
            content = _hash_weights(path)
        elif path.suffix == ".json" and path.name.endswith("config.json"):
            content = _hash_config(path)
        else:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.name} {content}\n".encode())
    return NetworkSource(folder.resolve(), name, digest.hexdigest()[:16])


def _fetched(path_or_id: str, kind: str, wanted: list[str]) -> tuple[Path, str]:
    """The folder, downloaded if it is not here, and its name."""
    folder = Path(path_or_id).expanduser()
    if folder.exists():
        return folder, folder.resolve().name
    if not re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", path_or_id) or path_or_id[0] in "./":
        raise UserError(
            f"no {kind} folder at {path_or_id}, and it is no Hub id (owner/name) either"
        )
    return _download(path_or_id, kind, wanted), path_or_id


def _download(hub_id: str, kind: str, wanted: list[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    name, _, revision = hub_id.partition("@")
    try:
        return Path(
            snapshot_download(
                name,
                revision=revision or None,
                allow_patterns=wanted,
                ignore_patterns=["*.bin", "*.ckpt", "*.msgpack", "*fp16*", "*non_ema*", "*nonema*"],
            )
        )
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise UserError(
            f"{kind} '{hub_id}' is no local folder and cannot be had from the Hub: "
            f"{one_line(error)}; where there is a network, `hf download {_download_words(hub_id)}` "
            "fetches it into the cache that is read here"
        ) from error


def _download_words(hub_id: str) -> str:
    name, _, revision = hub_id.partition("@")
    return f"{name} --revision {revision}" if revision else name


def _read_folder(folder: Path, name: str) -> ModelSource:
    index = folder / "model_index.json"
    if not index.is_file():
        raise UserError(f"{folder} is not a diffusers pipeline folder: model_index.json is missing")
    parts = _read_json(index)
    if "text_encoder_2" in parts:
        raise UserError(
            f"{folder} has two text encoders (SD-XL's shape): "
            "only Stable Diffusion 1 and 2 shaped pipelines are supported"
        )
    missing = [part for part in COMPONENTS if not (folder / part).is_dir()]
    if missing:
        raise UserError(f"{folder} is not a whole pipeline: {', '.join(missing)} missing")

    digest = hashlib.sha256()
    for part in COMPONENTS:
        # The index says which class loads a part; the same files make another model in another.
        digest.update(f"{part} {json.dumps(parts.get(part))}\n".encode())
        files = sorted(path for path in (folder / part).iterdir() if path.is_file())
        weights = [path for path in files if _WEIGHTS.fullmatch(path.name)]
        if part in NETWORKS and not weights:
            raise UserError(f"{folder / part} holds no safetensors weights")
        for path in files:
            if path in weights:
                content = _hash_weights(path)
            elif path.suffix == ".json":
                content = _hash_config(path)
            elif path.suffix == ".txt":
                content = hashlib.sha256(path.read_bytes()).hexdigest()
            else:
                continue
            digest.update(f"{part}/{path.name} {content}\n".encode())
    own = folder / "actionbench.json"
    preset = _read_json(own).get("preset") if own.is_file() else None
    return ModelSource(folder.resolve(), name, preset, digest.hexdigest()[:16])


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


_hashes: dict[tuple[str, int, int], str] = {}


def _hash_weights(path: Path) -> str:
    """sha256 of a safetensors file, remembered while this process lives."""
    stat = path.stat()
    key = (str(path.resolve()), stat.st_size, stat.st_mtime_ns)
    if key not in _hashes:
        _check_length(path, stat.st_size)
        with path.open("rb") as file:
            _hashes[key] = hashlib.file_digest(file, "sha256").hexdigest()
    return _hashes[key]


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
