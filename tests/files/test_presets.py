"""Base models by name: licences, kinds, and sizes that stand in until a model is here."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from actionbench.diffusion.cost import Networks, PresetNetworks
from actionbench.errors import UserError
from actionbench.files import models
from actionbench.files.hub import how_to_get
from actionbench.files.kinds import KINDS
from actionbench.files.models import MODEL_PRESETS, model_repositories, preset_kind, resolve_model
from actionbench.method import Work
from actionbench.plugins.tiny_xl import tiny_xl_pipeline
from actionbench.registry import get_method
from actionbench.runs import doctor
from actionbench.runs.doctor import Finding, check_model, estimate_preset, examine
from actionbench.runs.options import RunOptions
from actionbench.suite.suite import get_suite
from benchmarks.preset_sizes import MODELS, measure
from tests.files.test_models import put
from tests.helpers.refusing_hub import Refusing, refusing_hub

KNOWN = {name for kind in KINDS.values() for name in kind.pipelines}
SERVED = [name for name, preset in MODEL_PRESETS.items() if preset.pipeline in KNOWN]
OTHERS = sorted({*MODEL_PRESETS} - {*SERVED})


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[type[Refusing]]:
    with refusing_hub(monkeypatch, tmp_path) as refusing:
        yield refusing


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def gated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make SDXL's preset one that the Hub hands out under a licence alone."""
    preset = replace(MODEL_PRESETS["sdxl"], gated=True, licence="A Licence")
    monkeypatch.setitem(models.MODEL_PRESETS, "sdxl", preset)


# -- what a preset says --------------------------------------------------------------------


@pytest.mark.parametrize("name", MODEL_PRESETS)
def test_its_sizes_name_the_parts_of_its_kind(name: str) -> None:
    preset = MODEL_PRESETS[name]
    assert preset.licence and preset.sizes.denoiser in preset.sizes.parameters
    if name in SERVED:
        kind = preset_kind(preset)
        assert list(preset.sizes.parameters) == list(kind.networks)
        assert preset.sizes.denoiser == kind.denoiser


@pytest.mark.parametrize("name", ["sd-1.5", "sdxl", "sana-1.5", "sd-3.5-medium"])
def test_the_denoisers_sizes_are_those_of_its_public_config(name: str) -> None:
    parameters, flops = measure(name)
    sizes = MODEL_PRESETS[name].sizes
    assert sizes.parameters[sizes.denoiser] == parameters
    assert sizes.flops == pytest.approx(flops, rel=1e-3)
    assert {*MODELS} == {*MODEL_PRESETS}


@pytest.mark.parametrize("name", OTHERS)
def test_a_preset_of_a_kind_that_is_not_known_is_refused_before_anything_is_fetched(
    hub: type[Refusing], name: str
) -> None:
    refused = f"the model {name} is a {MODEL_PRESETS[name].pipeline}, which cannot be customized"
    with pytest.raises(UserError, match=refused):
        resolve_model(name)
    folder, finding = check_model(name)
    assert folder is None and finding.state == "fail" and refused in finding.message


def test_sdxl_is_read_from_the_cache_offline(
    offline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preset = replace(MODEL_PRESETS["sdxl"], image_size=32)
    monkeypatch.setitem(models.MODEL_PRESETS, "sdxl", preset)
    put(offline, preset.mirrors[0], tiny_xl_pipeline(tmp_path / "tiny"))
    source = resolve_model("sdxl")
    assert (source.name, source.preset, source.kind.name) == ("sdxl", "sdxl", "unet-two")


def test_what_other_programs_read_is_not_fetched() -> None:
    (repository,) = model_repositories("sdxl")
    for path in ("unet/model.onnx", "unet/model.onnx_data", "unet/openvino_model.xml"):
        assert not repository._wants(path)
    assert repository._wants("text_encoder_2/model.safetensors")
    command = shlex.split(how_to_get(repository, None).split("`")[1])
    assert "*.onnx_data" in command


# -- a model that cannot be had ------------------------------------------------------------


def test_a_gated_model_names_its_licence_and_page_in_one_line(
    hub: type[Refusing], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "status", 403)
    monkeypatch.setattr(hub, "code", "GatedRepo")
    gated(monkeypatch)
    page = f"{constants.ENDPOINT}/stabilityai/stable-diffusion-xl-base-1.0"
    with pytest.raises(UserError) as raised:
        resolve_model("sdxl")
    assert "\n" not in str(raised.value)
    assert f"it is gated: accept its licence (A Licence) on {page}, then log in with" in str(
        raised.value
    )
    with pytest.raises(UserError, match=r"it is gated: accept its licence on .*/some/model, then"):
        resolve_model("some/model")


def test_a_missing_model_names_its_page(
    hub: type[Refusing], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "status", 404)
    monkeypatch.setattr(hub, "code", "RepoNotFound")
    page = f"{constants.ENDPOINT}/stabilityai/stable-diffusion-xl-base-1.0"
    with pytest.raises(UserError, match=rf"no repository of that name .* \({page}\): check it"):
        resolve_model("sdxl")


def test_doctor_says_under_which_licence_a_preset_is_to_be_had(
    offline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, finding = check_model("sdxl")
    assert "its licence (CreativeML Open RAIL++-M) is on https://huggingface.co/stab" in (
        finding.message
    )
    gated(monkeypatch)
    _, finding = check_model("sdxl")
    assert "it is gated: accept its licence (A Licence) on https://hugg" in finding.message
    assert "actionbench prefetch --model sdxl" in finding.fix


# -- what it takes -------------------------------------------------------------------------


def findings(tmp_path: Path, *names: str, **options: object) -> dict[str, Finding]:
    methods = [get_method(name)() for name in names]
    asked = RunOptions(runs=tmp_path, **options)  # type: ignore[arg-type]
    preset = MODEL_PRESETS["sdxl"]
    made = estimate_preset(asked, get_suite("puppets"), 10, methods, preset, "cpu")
    return {finding.what: finding for finding in made}


def test_memory_by_typed_sizes() -> None:
    networks = PresetNetworks(MODEL_PRESETS["sdxl"])
    weights = 2_567_463_684 + 83_653_863 + 123_060_480 + 694_659_840
    assert networks.fit_bytes(Work(conditioned=9, batch=2), torch.bfloat16) == 2 * weights
    trained = networks.fit_bytes(Work(trained=9, trained_batch=2), torch.float32)
    # Weights, gradients and two moments.
    assert trained == 4 * weights + 12 * 2_567_463_684
    assert networks.flops(Work(conditioned=1, trained=1, drawn=1), 10) == 6 * 6.761e12


def test_passes_by_typed_sizes_are_about_the_networks(tmp_path: Path) -> None:
    """A pass to the text's states is two forward passes, and to the weights three."""
    networks = Networks(tiny_xl_pipeline(tmp_path))
    forward = networks.forward.flops
    assert networks.conditioned.flops == pytest.approx(2 * forward, rel=0.15)
    assert networks.trained.flops == pytest.approx(3 * forward, rel=0.15)


def test_a_preset_that_is_not_here_is_estimated_and_marked_so(
    offline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "memory", lambda device: (64 * 2**30, 64 * 2**30))
    asked = RunOptions(device="cpu", runs=tmp_path, model="sdxl", dtype="bfloat16")
    made = {f.what: f for f in examine(asked, ["stable-diffusion", "dti"])}
    assert made["model"].state == "fail" and "not on this machine" in made["model"].message
    assert made["sizes"].state == "warn" and "sdxl is not here" in made["sizes"].message
    assert "typed in" in made["sizes"].message
    assert made["dti"].state == "ok" and "a fit needs at least 6.5 GiB" in made["dti"].message
    assert "the model needs at least 6.5 GiB" in made["stable-diffusion"].message


def test_too_little_memory_says_what_would_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def free(gib: float) -> None:
        monkeypatch.setattr(doctor, "memory", lambda device: (int(gib * 2**30), 2**36))

    free(8)
    made = findings(tmp_path, "dti", "dreambooth")
    assert made["dti"].state == "fail"
    assert made["dti"].fix == "take --dtype bfloat16: at least 6.5 GiB are then needed"
    assert made["dreambooth"].fix.startswith("take a device with ")
    free(4)
    made = findings(tmp_path, "dti", "stable-diffusion", dtype="bfloat16")
    for name in ("dti", "stable-diffusion"):
        assert made[name].fix == (
            "take a device with 6.5 GiB, or a smaller model; with --dtype bfloat16 there is room "
            "for the weights of sd-2.1, sd-2.1-base, sd-1.5"
        )
