"""What `doctor` and `prefetch` report, and the counting under them."""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from actionbench.commands.prefetch import prefetch as prefetch_command
from actionbench.diffusion.cost import Networks
from actionbench.files.models import ModelTraits
from actionbench.judge import Judge
from actionbench.method import Work
from actionbench.photos.importing import Choices, import_photographs
from actionbench.plugins.tiny import tiny_pipeline
from actionbench.registry import get_method
from actionbench.runs.doctor import (
    Finding,
    check_disk,
    check_downloads,
    check_packages,
    estimate,
    examine,
    image_flops,
)
from actionbench.runs.options import RunOptions
from actionbench.runs.prefetch import prefetch
from actionbench.runs.profiles import configure
from actionbench.suite.items import Sampling
from actionbench.suite.suite import get_suite
from benchmarks import sd21
from cli import cli
from tests.helpers.photographs import make_folder, write_suite
from tests.helpers.small_run import Brightness, Plain, small_suite

ROOT = Path(__file__).resolve().parents[2]
T = 1e12


def folder_of(configs: dict[str, dict[str, object]], folder: Path) -> Path:
    for part, config in configs.items():
        (folder / part).mkdir(parents=True)
        (folder / part / "config.json").write_text(json.dumps(config))
    return folder


def test_the_operations_of_stable_diffusion_2(tmp_path: Path) -> None:
    """At 512 pixels, against figures counted apart from this code; the parameters are public."""
    networks = Networks(folder_of(sd21.configs(512, tiny=False), tmp_path))
    assert networks.parameters == sd21.EXPECTED
    assert networks.forward.flops == pytest.approx(0.804 * T, rel=1e-3)
    assert networks.encoded.flops == pytest.approx(1.117 * T, rel=1e-3)
    assert networks.text.flops == pytest.approx(0.091 * T, rel=2e-2)
    assert networks.conditioned.flops == pytest.approx(1.671 * T, rel=1e-3)
    sampling = Sampling(steps=50, guidance_scale=7.5)
    assert image_flops(networks, sampling) == pytest.approx(82.9 * T, rel=1e-2)


def test_what_is_kept_is_what_a_real_backward_pass_keeps(tmp_path: Path) -> None:
    """The meta device's count against the real networks of the same configs."""
    from actionbench.diffusion.backbone import Backbone
    from actionbench.files.models import resolve_model

    folder = tiny_pipeline(tmp_path, "v_prediction", sd2=True)
    backbone = Backbone.load(resolve_model(str(folder)))
    own = {p.data_ptr() for p in backbone.pipeline.unet.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes() // tensor.itemsize
        return tensor

    states = torch.randn(1, 32, 16, requires_grad=True)
    noisy, timestep = torch.randn(1, 4, 8, 8), torch.tensor([5])
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        backbone.predict(noisy, timestep, states)
    counted = Networks(folder).conditioned
    assert counted.kept == pytest.approx(sum(kept.values()), rel=0.15)
    saving = Networks(folder, gradient_checkpointing=True).conditioned
    assert saving.kept < 0.5 * counted.kept and saving.flops > counted.flops


def test_memory_of_a_fit(tmp_path: Path) -> None:
    networks = Networks(folder_of(sd21.configs(64, tiny=True), tmp_path))
    weights = sum(networks.parameters.values())
    assert networks.fit_bytes(Work(), torch.float32) == 4 * weights
    trained = networks.fit_bytes(Work(trained=9, trained_batch=2), torch.bfloat16)
    # Half-precision weights and gradients; two moments, a copy and its gradient in float32.
    assert trained == 2 * weights + 18 * networks.parameters["unet"] + 4 * networks.trained.kept


def test_the_settings_on_stable_diffusion_2_are_the_literatures() -> None:
    """Values that papers and reference implementations name, by setting."""
    published = {
        "textual-inversion": {"steps": 3000, "learning_rate": 2e-3, "batch_size": 4},
        "reversion": {
            **{"steps": 3000, "learning_rate": 2e-3, "batch_size": 8, "initializer": "and"},
            **{"steer_weight": 0.01, "temperature": 0.07, "positives": 4, "focus": 0.5},
        },
        "p-plus": {"steps": 500, "learning_rate": 5e-3, "batch_size": 8},
        "dreambooth": {
            **{"steps": 800, "learning_rate": 5e-6, "batch_size": 1, "weight_decay": 1e-2},
            **{"max_gradient_norm": 1.0, "prior_weight": 1.0, "class_images": 200},
        },
        "custom-diffusion": {
            **{"steps": 750, "learning_rate": 5e-6, "class_images": 200, "prior_weight": 1.0},
            **{"augment": False, "scale_learning_rate": True},
        },
        "adi": {
            **{"steps": 3000, "beta": 0.6, "merge": "intersection", "pool": "per-anchor"},
            **{"prompts": "caption", "layerwise": True, "masked_channels": "zero-gradient"},
            **{"pool_actions": ("stands", "squats", "waves", "smiles")},
        },
        "controlnet": {"controlnet": "thibaud/controlnet-sd21-openpose-diffusers"},
    }
    for name, values in published.items():
        for preset in ("sd-2.1", "sd-2.1-base"):
            settings = vars(configure(get_method(name), ModelTraits(preset)).settings)
            assert {key: settings[key] for key in values} == values
    (other,) = configure(get_method("controlnet"), ModelTraits("sd-1.5")).downloads
    assert other != published["controlnet"]["controlnet"]


def test_what_a_fit_has_to_do() -> None:
    """By the literature's settings: samples and rows of each method, on ten exemplars."""
    work = {
        name: configure(get_method(name), ModelTraits("sd-2.1")).fit_work(10, 16)
        for name in ("textual-inversion", "p-plus", "adi", "dreambooth", "custom-diffusion")
    }
    assert work["textual-inversion"] == Work(conditioned=12000, texts=12000, batch=4, rows=4)
    assert work["p-plus"] == Work(conditioned=4000, texts=64000, batch=8, rows=128)
    adi = work["adi"]
    assert adi == Work(
        **{"conditioned": 9000, "texts": 144000, "batch": 3, "rows": 48},
        **{"trained": 2000, "trained_batch": 1, "drawn": 2000},
    )
    assert work["dreambooth"] == Work(trained=1600, trained_batch=2, drawn_once=20000)
    assert work["custom-diffusion"] is not None
    assert work["custom-diffusion"].batch == 8 and work["custom-diffusion"].rows == 1


def test_doctor_on_a_model_that_is_here_and_one_that_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["doctor", "--method", "stable-diffusion,p-plus", "--runs", str(tmp_path)]
    assert cli.main(words, standalone_mode=False) is None
    printed = capsys.readouterr().out
    for part in ("puppets: 8 actions, 80 exemplars", "368 images", "a fit needs at least"):
        assert part in printed
    assert cli.main(["prefetch", "--method", "p-plus,controlnet"], standalone_mode=False) is None
    printed = capsys.readouterr().out
    assert "fingerprint" in printed
    assert "unet/diffusion_pytorch_model.safetensors sha256" in printed
    done = subprocess.run(
        [sys.executable, "cli.py", "doctor", "--method", "p-plus", "--model", "sd-2.1"],
        **{"cwd": ROOT, "capture_output": True, "text": True},
        env={"PATH": "/usr/bin", "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)},
    )
    assert done.returncode == 1
    assert "not on this machine" in done.stdout and "actionbench prefetch" in done.stdout


def test_without_photographs_everything_else_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = tiny_pipeline(tmp_path / "model")
    findings = examined(
        tmp_path, ["controlnet"], ["controlnet=somebody/net"],
        suite="photos", model=str(model), judge="vqa", judge_words=["model=somebody/model"],
    )  # fmt: skip
    (suite,) = [f for f in findings if f.what == "suite"]
    assert suite.state == "fail" and "data import DIR --suite photos" in suite.message
    missing = [f for f in findings if "is not on this machine" in f.message]
    assert [f.message.split()[0] for f in missing] == ["somebody/net", "somebody/model"]
    words = shlex.split(missing[0].fix)
    assert words[:2] == ["actionbench", "prefetch"]
    context = prefetch_command.make_context("prefetch", words[2:])
    assert context.params["suite"] == "photos" and context.params["model"] == str(model)
    assert context.params["methods"] == ["controlnet"] and context.params["judge"] == "vqa"
    assert context.params["judge_words"] == ("model=somebody/model",)
    assert context.params["words"] == ("controlnet=somebody/net",)
    assert any(f.message.startswith("estimate: at least") for f in findings)


def test_exemplars_that_a_method_cannot_use_are_reported(tmp_path: Path) -> None:
    suite = write_suite(tmp_path)
    make_folder(tmp_path / "source")
    import_photographs(
        tmp_path / "source", tmp_path / "mine", get_suite(str(suite)), Choices(count=2)
    )
    model = tiny_pipeline(tmp_path / "model")
    findings = examined(
        tmp_path, ["p-plus", "controlnet"],
        suite=str(tmp_path / "mine"), model=str(model), judge="clip",
    )  # fmt: skip
    failed = [(f.what, f.message) for f in findings if f.state == "fail"]
    keypoints = [message for what, message in failed if "have no keypoints" in message]
    assert len(keypoints) == 1 and "data import" in keypoints[0]
    assert "p-plus" not in [what for what, _ in failed]


def examined(
    tmp_path: Path, methods: Sequence[str] = ("p-plus",), words: Sequence[str] = (), **options: Any
) -> list[Finding]:
    """Return what doctor reports for these options on a CPU."""
    return list(
        examine(RunOptions(**{"device": "cpu", "runs": tmp_path, **options}), methods, words)
    )


def test_a_run_that_cannot_work_is_reported_with_how_to_fix_it(tmp_path: Path) -> None:
    (suite,) = [f for f in examined(tmp_path, ["p-pus"], suite="photo") if f.what == "suite"]
    assert suite.state == "fail" and "unknown suite 'photo'" in suite.message
    if not torch.cuda.is_available():
        findings = {f.what: f for f in examined(tmp_path, ["p-pus"], device="cuda")}
        device, method = findings["device"], findings["p-pus"]
        assert device.state == "fail" and "--device cpu" in device.message
        assert method.state == "fail" and "did you mean p-plus" in method.message


def test_a_fit_too_large_for_the_memory_is_reported(tmp_path: Path) -> None:
    folder = folder_of(sd21.configs(64, tiny=True), tmp_path / "model")
    huge = configure(
        get_method("textual-inversion"), ModelTraits(None), words=["batch_size=100000000"]
    )
    asked = RunOptions(runs=tmp_path, gradient_checkpointing=True)
    estimates = estimate(asked, get_suite("puppets"), 10, [huge], folder, "cpu")
    findings = {finding.what: finding for finding in estimates}
    assert findings["textual-inversion"].state == "fail"
    assert "--dtype bfloat16" in findings["textual-inversion"].fix
    assert findings["disk"].state == "ok"
    assert check_disk(tmp_path / "not" / "yet", 2**70).state == "fail"


def test_packages_are_compared_with_the_constraints(tmp_path: Path) -> None:
    (finding,) = check_packages(tmp_path / "none.txt")
    assert finding.state == "ok"
    (tmp_path / "constraints.txt").write_text("# tested\ntorch==0.1\nno-such-package==1\n")
    (finding,) = check_packages(tmp_path / "constraints.txt")
    assert finding.state == "warn" and "(tested: 0.1)" in finding.message
    assert "no-such-package" not in finding.message


class FromTheHub(Brightness):
    @property
    def downloads(self) -> tuple[str, ...]:
        return ("somebody/judge@v1",)


def test_prefetch_uses_what_is_here_and_names_what_is_missing(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    judge: Judge = FromTheHub(small_suite(tmp_path))
    net = configure(get_method("controlnet"), ModelTraits("sd-2.1"))
    own = configure(get_method("controlnet"), ModelTraits("puppet-diffusion"))
    assert own.downloads == ()

    snapshot = tmp_path / "hub" / "models--somebody--judge" / "snapshots" / ("1" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    save_file({"weight": torch.zeros(1)}, snapshot / "model.safetensors")
    refs = tmp_path / "hub" / "models--somebody--judge" / "refs"
    refs.mkdir()
    (refs / "v1").write_text("1" * 40)
    model, controlnet, judged = prefetch(
        str(tiny_model), [Plain(), net], judge, report=lambda _line: None
    )
    assert model.folder == tiny_model and model.message.startswith("fingerprint ")
    assert [pin.split(" sha256 ")[0] for pin in model.pins] == [
        "vae/diffusion_pytorch_model.safetensors",
        "unet/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
    ]
    assert controlnet.folder is None
    assert "hf download thibaud/controlnet-sd21-openpose-diffusers" in controlnet.message
    assert judged.folder == snapshot and judged.message == f"revision {'1' * 40}"
    states = [finding.state for finding in check_downloads([net], judge, "fetch it")]
    assert states == ["fail", "ok"]
    (snapshot / "model.safetensors").unlink()
    *_, judged = prefetch(str(tiny_model), [], judge, report=lambda _line: None)
    assert judged.folder is None and "lacks model.safetensors" in judged.message


@pytest.mark.parametrize("name", ["adi", "controlnet"])
def test_the_benchmark_at_toy_width(name: str) -> None:
    options = argparse.Namespace(
        **{"size": 64, "tiny": True, "device": "cpu", "dtype": "float32", "steps": 1, "images": 1},
        **{"batch_size": 1, "sampling_steps": 1, "gradient_checkpointing": False, "set": []},
    )
    facts = sd21.measure(name, options)
    assert facts["images_per_s"] > 0 and facts["images_per_s_ceiling"] > 0
    if name == "adi":
        assert facts["fit_s"] == pytest.approx(facts["learning_s"] + facts["pool_s"])
        assert facts["pool_floor_s"] > 0 and facts["steps"] == 3000
    if name == "controlnet":
        assert "step_s" not in facts
