"""Names weights by what is in them, and takes places of the machine out of saved configs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from torch import nn


def weights_key(module: nn.Module) -> str:
    """A hash of all weights."""
    digest = hashlib.sha256()
    for tensor in module.state_dict().values():
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def forget_places(folder: Path) -> None:
    """Remove from a saved network's or pipeline's configs where its parts lay on this machine."""
    for file in folder.rglob("*.json"):
        config = json.loads(file.read_text("utf-8"))
        if isinstance(config, dict) and config.pop("_name_or_path", None) is not None:
            file.write_text(json.dumps(config, indent=2) + "\n", "utf-8")
