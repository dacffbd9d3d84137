"""Base models: what counts as one, and what its fingerprint depends on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from actionbench.errors import UserError
from actionbench.models import resolve_model
from actionbench.tiny import tiny_pipeline

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    shutil.copytree(tiny_model, tmp_path / "model")
    return tmp_path / "model"


def edit(path: Path, change: Callable[[dict[str, object]], object]) -> None:
    facts = json.loads(path.read_text())
    change(facts)
    path.write_text(json.dumps(facts))


def test_a_local_pipeline(model: Path) -> None:
    source = resolve_model(str(model))
    assert (source.path, source.name, source.preset) == (model, "model", None)
    (model / "actionbench.json").write_text('{"preset": "puppet-diffusion"}')
    tuned = resolve_model(str(model))
    assert tuned.preset == "puppet-diffusion"
    assert tuned.fingerprint == source.fingerprint


def test_the_fingerprint_is_of_the_content(model: Path, tmp_path: Path) -> None:
    first = resolve_model(str(model)).fingerprint
    moved = tmp_path / "moved"
    shutil.copytree(model, moved)
    edit(moved / "unet" / "config.json", lambda facts: facts.update(_diffusers_version="0.99"))
    (moved / "README.md").write_text("a card")
    assert resolve_model(str(moved)).fingerprint == first, "neither place nor writer matters"
    other = tiny_pipeline(tmp_path / "other", seed=1)
    assert resolve_model(str(other)).fingerprint != first, "weights matter"
    scheduler = moved / "scheduler" / "scheduler_config.json"
    edit(scheduler, lambda facts: facts.update(prediction_type="v_prediction"))
    assert resolve_model(str(moved)).fingerprint != first, "configs matter"


def test_the_fingerprint_is_of_the_classes_too(model: Path) -> None:
    first = resolve_model(str(model)).fingerprint
    other = ["diffusers", "PNDMScheduler"]
    edit(model / "model_index.json", lambda facts: facts.update(scheduler=other))
    assert resolve_model(str(model)).fingerprint != first


def test_a_solver_with_an_infinite_setting_has_a_fingerprint(model: Path) -> None:
    path = model / "scheduler" / "scheduler_config.json"
    before = resolve_model(str(model)).fingerprint
    facts = {**json.loads(path.read_text()), "lambda_min_clipped": -float("inf")}
    path.write_text(json.dumps(facts))
    assert resolve_model(str(model)).fingerprint != before


def test_changed_weights_are_seen_within_one_process(model: Path) -> None:
    first = resolve_model(str(model)).fingerprint
    weights = model / "unet" / "diffusion_pytorch_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert resolve_model(str(model)).fingerprint != first


def test_what_is_no_pipeline_is_told(model: Path, tmp_path: Path) -> None:
    def told(match: str, path: Path | str = model) -> None:
        with pytest.raises(UserError, match=match):
            resolve_model(str(path))

    told("model_index.json is missing", tmp_path)
    told("no model folder at /no/such/folder", "/no/such/folder")
    told("no model folder at ./folder", "./folder")
    told("unknown model 'sd-2': did you mean sd-2.1", "sd-2")

    weights = model / "vae" / "diffusion_pytorch_model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-100])
    told("diffusion_pytorch_model.safetensors is damaged: it was cut short")
    weights.write_bytes(b"<html>not found</html>")
    told("not a safetensors file")
    weights.write_bytes(b"")
    told("is damaged")
    weights.rename(weights.with_name("diffusion_pytorch_model.bin"))
    told("vae holds no safetensors weights")
    shutil.rmtree(model / "unet")
    told("not a whole pipeline: unet missing")
    edit(model / "model_index.json", lambda facts: facts.update(text_encoder_2=["a", "b"]))
    told("two text encoders")
    (model / "model_index.json").write_text("{")
    told("model_index.json is damaged")


def test_a_hub_id_without_a_network_is_told_in_one_line(tmp_path: Path) -> None:
    script = (
        "from actionbench.errors import UserError\n"
        "from actionbench.models import resolve_model\n"
        "try: resolve_model('somebody/some-model@main')\n"
        "except UserError as error: print(error)"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.stdout.startswith("model 'somebody/some-model@main' is no local folder and cannot")
    assert done.stdout.count("\n") == 1, done.stdout + done.stderr


def test_a_hub_id_that_was_fetched_is_read_from_the_cache(model: Path, tmp_path: Path) -> None:
    """The layout that huggingface_hub keeps, read without a network."""
    commit = "0" * 40
    repository = tmp_path / "hub" / "models--somebody--some-model"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    shutil.copytree(model, repository / "snapshots" / commit)
    script = (
        "from actionbench.models import resolve_model\n"
        "source = resolve_model('somebody/some-model'); print(source.name, source.fingerprint)"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    expected = f"somebody/some-model {resolve_model(str(model)).fingerprint}\n"
    assert done.stdout == expected, done.stderr
