"""Every network is loaded with all its weights, or refused by the names of those that differ."""

from __future__ import annotations

import ast
import json
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModel, CLIPTextModel, LlamaConfig, LlamaForCausalLM

from actionbench.diffusion.backbone import Backbone
from actionbench.diffusion.control import load_controlnet, new_controlnet
from actionbench.errors import UserError
from actionbench.files.kinds import UNET
from actionbench.files.models import (
    Network,
    resolve_controlnet,
    resolve_model,
    resolve_network,
)
from actionbench.files.networks import (
    check_network,
    check_pipeline,
    check_stored,
    library_class,
    load_network,
    load_state,
    load_weights,
)
from actionbench.plugins.tiny import load_tiny
from tests.helpers.tiny_judges import tiny_clip, tiny_detector, tiny_llava, tiny_qwen, tiny_vitpose

ROOT = Path(__file__).resolve().parents[2]
FILES = dict.fromkeys(UNET.networks, "diffusion_pytorch_model.safetensors") | {
    "text_encoder": "model.safetensors"
}


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def rewrite(file: Path, change: Callable[[dict[str, Tensor]], Any]) -> None:
    """Change the tensors that a file holds."""
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, {"format": "pt"})


@pytest.mark.parametrize(
    ("file", "change", "reason"),
    [
        ("text_encoder/config.json", {"hidden_act": "nonsense"}, "nonsense"),
        ("text_encoder/config.json", {"hidden_size": "wide"}, "wide|hidden_size|str"),
        ("unet/config.json", {"block_out_channels": None}, "None"),
        ("vae/config.json", {"act_fn": 7}, "7|int"),
    ],
)
def test_what_a_library_refuses_is_said_with_what_to_do(
    model: Path, file: str, change: dict[str, Any], reason: str
) -> None:
    path = model / file
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    load = partial(load_tiny, model), partial(check_pipeline, model)
    for attempt in load:
        with pytest.raises(UserError) as refused:
            attempt()
        message = str(refused.value)
        assert re.search(rf"^{model / file.split('/')[0]} cannot be .* \(.*({reason}).*\): fetch",
                         message), message  # fmt: skip
        assert "\n" not in message and "Error:" not in message


def rename_two(tensors: dict[str, Tensor]) -> None:
    for name in sorted(tensors)[:2]:
        tensors[f"renamed.{name}"] = tensors.pop(name)


def enlarge_one(tensors: dict[str, Tensor]) -> None:
    name = sorted(tensors)[0]
    tensors[name] = torch.zeros(3, *tensors[name].shape)


# -- the base model ------------------------------------------------------------------------


@pytest.mark.parametrize("part", UNET.networks)
def test_a_part_with_two_renamed_weights_is_refused_by_their_names(model: Path, part: str) -> None:
    file = model / part / FILES[part]
    names = sorted(load_file(file))[:2]
    rewrite(file, rename_two)
    with pytest.raises(UserError) as raised:
        Backbone.load(resolve_model(str(model)))
    message = str(raised.value)
    assert message.startswith(f"{model / part}: its weights are not those of ")
    assert "2 missing" in message and "2 not known to it" in message and "\n" not in message
    for name in names:
        assert name.removeprefix("text_model.") in message and f"renamed.{name}" in message
    # The same from the headers alone, and of this part only.
    differences = check_pipeline(model)
    assert [p for p in UNET.networks if differences[p]] == [part]
    assert str(differences[part]) in message


@pytest.mark.parametrize("part", UNET.networks)
def test_a_weight_of_another_shape_is_refused_by_its_shapes(model: Path, part: str) -> None:
    rewrite(model / part / FILES[part], enlarge_one)
    with pytest.raises(UserError, match=rf"{part}: .* 1 of another shape \(.* \[3, .*, needed \["):
        Backbone.load(resolve_model(str(model)))
    assert len(check_pipeline(model)[part].other_shape) == 1


def test_old_names_that_the_libraries_convert_are_no_difference(
    model: Path, tiny_model: Path
) -> None:
    """Attention blocks as diffusers named them before 0.12; buffers that were stored once."""

    def to_old_blocks(tensors: dict[str, Tensor]) -> None:
        old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
        blocks = [name for name in tensors if ".attentions.0.to_" in name]
        assert blocks
        for name in blocks:
            stem, _, rest = name.partition(".attentions.0.")
            part, kind = rest.rsplit(".", 1)
            tensors[f"{stem}.attentions.0.{old[part]}.{kind}"] = tensors.pop(name)

    def to_old_text(tensors: dict[str, Tensor]) -> None:
        for name in sorted(tensors):
            if not name.startswith("text_model."):
                tensors[f"text_model.{name}"] = tensors.pop(name)
        tensors["text_model.embeddings.position_ids"] = torch.arange(77)[None]

    rewrite(model / "vae" / FILES["vae"], to_old_blocks)
    rewrite(model / "text_encoder" / FILES["text_encoder"], to_old_text)
    assert not any(check_pipeline(model).values())
    old, new = load_tiny(model), load_tiny(tiny_model)
    for part in UNET.networks:
        own, other = (getattr(b.pipeline, part).state_dict() for b in (old, new))
        assert own.keys() == other.keys()
        assert all(torch.equal(own[name], other[name]) for name in own)


def test_weights_in_several_files_are_compared_as_one(model: Path) -> None:
    for part, kind in (("unet", "UNet2DConditionModel"), ("text_encoder", "CLIPTextModel")):
        library = "diffusers" if part == "unet" else "transformers"
        network = load_weights(library_class(f"{library}.{kind}"), model / part)
        (model / part / FILES[part]).unlink()
        network.save_pretrained(model / part, max_shard_size="40KB")
        assert len(list((model / part).glob("*-of-*.safetensors"))) > 1
    assert not any(check_pipeline(model).values())
    load_tiny(model)
    shard = sorted((model / "unet").glob("*-of-*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(UserError, match=f"is not a whole pipeline: it lacks unet/{shard.name}"):
        resolve_model(str(model))


def test_the_class_of_a_part_is_of_the_two_libraries(model: Path) -> None:
    index = model / "model_index.json"
    facts = json.loads(index.read_text())
    for own, match in (
        (["somebody.module", "Net"], "no code of a model is run"),
        (["diffusers", "NoSuchNet"], "diffusers has no class NoSuchNet"),
    ):
        index.write_text(json.dumps({**facts, "unet": own}))
        with pytest.raises(UserError, match=match):
            Backbone.load(resolve_model(str(model)))


def test_a_controlnet_is_compared_too(tiny_model: Path, tmp_path: Path) -> None:
    backbone = load_tiny(tiny_model)
    new_controlnet(backbone, zero=False).save_pretrained(tmp_path / "net")
    network = Network(str(tmp_path / "net"), "diffusers.ControlNetModel")
    assert not check_network(network, tmp_path / "net")
    load_controlnet(backbone, resolve_controlnet(str(tmp_path / "net")))
    rewrite(tmp_path / "net" / FILES["unet"], rename_two)
    assert len(check_network(network, tmp_path / "net").missing) == 2
    with pytest.raises(UserError, match="not those of ControlNetModel: 2 missing"):
        load_controlnet(backbone, resolve_controlnet(str(tmp_path / "net")))


# -- judges and the models of photographs --------------------------------------------------

JUDGES = {
    "clip": (tiny_clip, "transformers.AutoModel"),
    "detector": (tiny_detector, "transformers.RTDetrForObjectDetection"),
    "pose": (tiny_vitpose, "transformers.VitPoseForPoseEstimation"),
    "qwen": (tiny_qwen, "transformers.AutoModelForImageTextToText"),
    "llava": (tiny_llava, "transformers.AutoModelForImageTextToText"),
}


@pytest.mark.parametrize("name", JUDGES)
def test_a_judges_network_is_compared_by_names(name: str, tmp_path: Path) -> None:
    make, loader = JUDGES[name]
    folder = make(tmp_path / name)
    network = Network(str(folder), loader)
    assert not check_network(network, folder)
    load_network(library_class(loader), resolve_network(str(folder), "judge"), "cpu")
    rewrite(folder / "model.safetensors", rename_two)
    differences = check_network(network, folder)
    assert len(differences.missing) == 2 and len(differences.unused) == 2
    with pytest.raises(UserError, match=f"^{name}: its weights are not those of .*: 2 missing"):
        load_network(library_class(loader), resolve_network(str(folder), "judge"), "cpu")


def test_tied_weights_and_computed_buffers_may_be_absent(tmp_path: Path) -> None:
    config = LlamaConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        vocab_size=32, tie_word_embeddings=True,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(tmp_path / "llama")
    assert "lm_head.weight" not in load_file(tmp_path / "llama" / "model.safetensors")
    assert not check_stored(LlamaForCausalLM, tmp_path / "llama")
    load_weights(LlamaForCausalLM, tmp_path / "llama")

    folder = tiny_clip(tmp_path / "clip")
    rewrite(
        folder / "model.safetensors",
        lambda tensors: tensors.update(
            {"vision_model.embeddings.position_ids": torch.arange(17)[None]}
        ),
    )
    assert not check_stored(AutoModel, folder)
    load_weights(AutoModel, folder)


def test_the_wrong_class_is_refused(tmp_path: Path) -> None:
    """The text half of a CLIP has no picture encoder, which would be made of random numbers."""
    folder = tiny_clip(tmp_path / "clip")
    text = load_weights(AutoModel, folder).text_model
    text.save_pretrained(tmp_path / "text")
    load_weights(CLIPTextModel, tmp_path / "text")
    whole = json.loads((folder / "config.json").read_text())
    (tmp_path / "text" / "config.json").write_text(json.dumps(whole))
    with pytest.raises(UserError, match="missing"):
        load_weights(AutoModel, tmp_path / "text")


def test_this_projects_own_networks_are_compared_too() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    tensors = {name: torch.ones_like(tensor) for name, tensor in module.state_dict().items()}
    load_state(module, tensors, "file")
    assert bool((module[0].weight == 1).all())
    counted = tensors.pop("1.num_batches_tracked")
    load_state(module, tensors, "file")
    tensors = {**tensors, "1.num_batches_tracked": counted, "2.weight": torch.ones(1)}
    del tensors["0.bias"]
    tensors["0.weight"] = torch.ones(3, 3)
    message = (
        r"file: its weights are not those of Sequential: 1 missing \(0\.bias\); 1 not known to it "
        r"\(2\.weight\); 1 of another shape \(0\.weight \[3, 3\], needed \[3, 2\]\); fetch it again"
    )
    with pytest.raises(UserError, match=message):
        load_state(module, tensors, "file")


# -- no other way in -----------------------------------------------------------------------

LOADING = {"from_pretrained", "from_single_file", "load_state_dict", "load_lora_weights"}
UNPICKLING = {"torch.load", "pickle.load", "pickle.loads", "joblib.load", "dill.load"}


def test_nothing_is_loaded_past_the_comparison() -> None:
    """Networks come in through files/networks.py alone, and nothing is ever unpickled."""
    found = []
    files = [ROOT / "cli.py"]
    for folder in ("actionbench", "methods", "evaluation", "leaderboards", "examples"):
        files += (ROOT / folder).rglob("*.py")
    for file in files:
        place = file.relative_to(ROOT).as_posix()
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if not isinstance(node, ast.Attribute):
                continue
            name = ast.unparse(node)
            # An optimiser's state has no network's weights.
            own = node.attr in LOADING and not name.endswith("optimizer.load_state_dict")
            # Workers and their launcher send each other units through a pipe of their own.
            foreign = name in UNPICKLING and not place.startswith("actionbench/runs/workers/")
            if foreign or (own and place != "actionbench/files/networks.py"):
                found.append(f"{place}:{node.lineno} {name}")
    assert not found
