from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel

from actionbench.diffusion.backbone import Backbone
from actionbench.diffusion.control import Control, load_controlnet, new_controlnet
from actionbench.errors import UserError
from actionbench.files.models import resolve_controlnet
from actionbench.plugins.tiny import load_tiny, state_hash, tiny_items, tiny_task
from actionbench.progress import SILENT
from actionbench.suite.items import Item, Sampling, paper_actions, paper_subjects
from actionbench.suite.skeleton import draw_skeleton
from methods.controlnet import ControlNet, Settings, place_in_round
from tests.helpers.small_run import small_plan


@pytest.fixture(scope="module")
def folder(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ControlNet for the tiny pipeline whose outputs do not begin at zero."""
    network = new_controlnet(load_tiny(tiny_model), zero=False)
    path = tmp_path_factory.mktemp("controlnet") / "tiny-controlnet"
    network.save_pretrained(path)
    return path


def method(folder: Path | str, **more: Any) -> ControlNet:
    return ControlNet(Settings(controlnet=str(folder), **more))


def pixels(images: Any) -> np.ndarray:
    return np.stack([np.asarray(i, dtype=np.int16) for i in images])


def test_a_skeleton_reaches_the_image_by_its_scale(tiny: Backbone, folder: Path) -> None:
    before = state_hash(tiny)
    task, items = tiny_task(), tiny_items(count=2)
    fitted = method(folder).fit(tiny, task, seed=0, progress=SILENT)
    images = pixels(method(folder).generate(tiny, fitted, items))
    other = replace(fitted, tensors={"keypoints": 1 - fitted.tensors["keypoints"]})
    assert (pixels(method(folder).generate(tiny, fitted, items)) == images).all()
    assert (pixels(method(folder).generate(tiny, other, items)) != images).any()
    text = pixels(tiny.generate([i.described_prompt for i in items], [i.seed for i in items]))
    assert np.abs(images - text).max() > 1
    for nothing in (method(folder, scale=0.0), method("untrained")):
        assert np.abs(pixels(nothing.generate(tiny, fitted, items)) - text).max() <= 1
    assert state_hash(tiny) == before


def test_one_trained_under_prompts_steers_guidances_half_with_the_prompt(
    tiny: Backbone, folder: Path, tmp_path: Path
) -> None:
    marked = tmp_path / "marked"
    shutil.copytree(folder, marked)
    (marked / "actionbench.json").write_text('{"prompted_only": true}')
    stock, prompted = resolve_controlnet(str(folder)), resolve_controlnet(str(marked))
    assert prompted.prompted_only and not stock.prompted_only
    assert prompted.fingerprint != stock.fingerprint

    fitted, items = method(folder).fit(tiny, tiny_task(), seed=0, progress=SILENT), tiny_items()
    images = pixels(method(folder).generate(tiny, fitted, items))
    # As the stock pipeline does, whatever the network was trained under.
    assert (pixels(method(marked).generate(tiny, fitted, items)) == images).all()
    halved = pixels(method(marked, steers="network").generate(tiny, fitted, items))
    assert (halved != images).any()
    assert (pixels(method(folder, steers="prompted").generate(tiny, fitted, items)) == halved).all()
    tiny.sampling = Sampling(tiny.sampling.steps, guidance_scale=1.0)  # there is no other half
    images = pixels(method(folder).generate(tiny, fitted, items))
    alone = method(marked, steers="network").generate(tiny, fitted, items)
    assert (pixels(alone) == images).all()

    network = load_controlnet(tiny, prompted)
    control = Control(network, [], prompted_only=True)
    with torch.no_grad():
        states = tiny.encode_prompts([tiny.tokenize(text) for text in ("", "a panda sits")])
        shown = torch.rand(2, 3, tiny.image_size, tiny.image_size)
        unet = tiny.pipeline.unet.config
        latents = torch.randn(2, unet.in_channels, unet.sample_size, unet.sample_size)
        plain = network(latents, 5, states, shown, return_dict=False)
        with control.steering(guided=True):
            halved = network(latents, 5, states, shown, return_dict=False)
        after = network(latents, 5, states, shown, return_dict=False)
    for before, inside, again in zip(*((*d, m) for d, m in (plain, halved, after)), strict=True):
        assert not inside[0].any() and torch.equal(inside[1], before[1])
        assert before[0].any() and torch.equal(again, before)


def test_an_image_depends_on_its_item_alone(tiny: Backbone, folder: Path) -> None:
    items = tiny_items(count=5)
    fitted = method(folder).fit(tiny, tiny_task(), seed=0, progress=SILENT)
    together = pixels(method(folder).generate(tiny, fitted, items))
    tiny.batch_size = 2
    turned = pixels(method(folder).generate(tiny, fitted, items[::-1]))[::-1]
    assert np.abs(together - turned).max() <= 1


def test_items_take_the_skeletons_in_turn() -> None:
    action, subjects = paper_actions()[0], paper_subjects()

    def places(subject: int, run_seed: int = 0) -> list[int]:
        items = [Item(action, subjects[subject], index, run_seed) for index in range(10)]
        return [place_in_round(item, 10) for item in items]

    for subject in range(23):
        first = places(subject)[0]
        assert places(subject) == [(first + index) % 10 for index in range(10)]
    starts = [places(subject)[0] for subject in range(23)]
    assert len(set(starts)) > 5, "subjects begin in different places"
    assert starts != [places(subject, run_seed=1)[0] for subject in range(23)]


def test_exemplars_without_a_visible_point_are_left_out(tiny: Backbone) -> None:
    task = tiny_task()
    points = [e.keypoints.copy() for e in task.exemplars]
    points[1][:, 2] = 0
    points[2][1:, 2] = 0  # one point is enough
    some = tuple(replace(e, keypoints=p) for e, p in zip(task.exemplars, points))
    fitted = method("untrained").fit(tiny, replace(task, exemplars=some), seed=0, progress=SILENT)
    assert fitted.facts["exemplars"] == ["cheer-0", "cheer-2"]
    assert torch.equal(fitted.tensors["keypoints"][1], torch.from_numpy(points[2]))
    with pytest.raises(UserError, match="no exemplar of 'cheer' has a visible keypoint"):
        method("untrained").fit(tiny, replace(task, exemplars=(some[1],)), seed=0, progress=SILENT)


@pytest.mark.parametrize(
    ("field", "value"),
    [("cross_attention_dim", 1024), ("block_out_channels", [8, 8]), ("in_channels", 24)],
)
def test_a_controlnet_of_another_shape_is_refused_before_anything_is_drawn(
    tiny: Backbone, folder: Path, tmp_path: Path, field: str, value: Any
) -> None:
    shutil.copytree(folder, tmp_path / "other")
    config = tmp_path / "other" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {field: value}))
    with pytest.raises(UserError, match=rf"other does not fit model tiny: its {field} is"):
        method(tmp_path / "other").fit(tiny, tiny_task(), seed=0, progress=SILENT)


def test_a_missing_or_damaged_controlnet_is_told(folder: Path, tmp_path: Path) -> None:
    def refused(line: str, name: Path | str) -> None:
        with pytest.raises(UserError, match=line):
            _ = method(name).fingerprint

    refused("no ControlNet folder at ./nowhere", "./nowhere")
    refused("not a whole ControlNet: it lacks config.json, diffusion_", tmp_path)
    shutil.copy(folder / "config.json", tmp_path)
    refused("it lacks diffusion_pytorch_model.safetensors", tmp_path)
    whole = (folder / "diffusion_pytorch_model.safetensors").read_bytes()
    (tmp_path / "diffusion_pytorch_model.safetensors").write_bytes(whole[:-8])
    refused("damaged", tmp_path)


def test_images_of_another_training_are_not_taken_for_this_ones(
    folder: Path, tiny_model: Path, tmp_path: Path
) -> None:
    place = tmp_path / "net"
    shutil.copytree(folder, place)

    def key() -> str:
        return small_plan(tiny_model, tmp_path, method(place)).actions[0].fit_key

    first = key()
    assert key() == first
    network = ControlNetModel.from_pretrained(place, low_cpu_mem_usage=False)
    network.controlnet_mid_block.weight.data += 1
    network.save_pretrained(place)
    assert key() != first


def test_skeletons_of_64_pixels_have_lines_of_two() -> None:
    points = np.zeros((18, 3), np.float32)
    points[2], points[3] = (0.1, 0.5, 1), (0.9, 0.5, 1)
    middle = np.asarray(draw_skeleton(points, 64), dtype=float).max(2)[:, 32]
    assert 1.8 <= middle.sum() / (0.6 * 255) <= 3


def test_the_control_is_cut_with_its_batch() -> None:
    control = Control(None, list("abc"), scale=0.5)
    assert control[1:].arguments == {"image": ["b", "c"], "controlnet_conditioning_scale": 0.5}
