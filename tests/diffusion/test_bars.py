"""Bars of padded photographs: kept out of the loss, and reported if there is much of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from actionbench.diffusion.backbone import Backbone
from actionbench.diffusion.denoising import Noised
from actionbench.diffusion.exemplars import Exemplars, content_masks
from actionbench.diffusion.token_learning import ExemplarBatches, TokenSettings, learn_tokens
from actionbench.plugins.tiny import tiny_task
from actionbench.progress import SILENT, Progress
from actionbench.runs.doctor import check_bars
from actionbench.suite.bars import bar_share, bars_note, content_box
from actionbench.suite.items import ActionTask
from actionbench.suite.suite import get_suite
from methods.adi import Settings as ADISettings
from methods.adi import Triples
from methods.custom_diffusion import augmented
from methods.dreambooth import DreamBooth


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(60, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def padded(width: int, height: int, side: int = 32) -> Image.Image:
    return ImageOps.pad(noise(width, height), (side, side))


def barred(exemplars: int = 3) -> ActionTask:
    """The first exemplar has bars above and below, a quarter of it each."""
    task = tiny_task(exemplars=exemplars)
    first = replace(task.exemplars[0], image=padded(32, 16))
    return replace(task, exemplars=(first, *task.exemplars[1:]))


class Notes(Progress):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


def test_bars_are_equal_black_rims_at_opposite_sides() -> None:
    assert content_box(padded(32, 16)) == (0, 8, 32, 24)
    assert content_box(padded(16, 32)) == (8, 0, 24, 32)
    assert content_box(padded(32, 17)) == (0, 8, 32, 25)
    assert content_box(noise(32, 32)) == (0, 0, 32, 32)
    night = noise(32, 32)
    night.paste((0, 0, 0), (0, 0, 32, 10))
    assert content_box(night) == (0, 0, 32, 32), "a dark sky is at one side"
    assert content_box(Image.new("RGB", (8, 8))) == (0, 0, 8, 8)
    grainy = np.asarray(padded(32, 16)).copy()
    grainy[:8] = np.random.default_rng(1).integers(0, 8, grainy[:8].shape)
    assert content_box(Image.fromarray(grainy)) == (0, 8, 32, 24)


def test_no_drawn_exemplar_has_bars() -> None:
    for name in ("puppets", "puppets-dev"):
        for task in get_suite(name).tasks.values():
            assert bar_share(exemplar.image for exemplar in task.exemplars) == 0


def test_more_than_a_little_is_reported_by_doctor_and_by_the_fit(tiny: Backbone) -> None:
    (finding,) = check_bars([barred(), tiny_task("sit")])
    assert finding.state == "warn" and "black bars take 17% of the exemplars of 'cheer'" in (
        finding.message
    )
    notes = Notes()
    Exemplars(tiny, barred(), notes)
    assert (
        notes.texts
        == [finding.message]
        == [bars_note("cheer", [e.image for e in barred().exemplars])]
    )
    assert bars_note("cheer", [padded(64, 62, 64)]) == "", "3% is little"


def test_cells_with_bars_are_masked(tiny: Backbone) -> None:
    assert content_masks(tiny, [noise(32, 32)]) is None
    masks = content_masks(tiny, [noise(32, 32), padded(32, 16), noise(16, 32)])
    assert masks is not None and masks.shape == (3, 1, 4, 4)
    rows = torch.tensor([0.0, 1.0, 1.0, 0.0])
    assert masks[0].all()
    assert torch.equal(masks[1, 0], rows[:, None].expand(4, 4))
    assert torch.equal(masks[2, 0], rows.expand(4, 4)), "also of what is padded only now"


def spoiled(noised: Noised, rows: list[int]) -> Noised:
    """Let what is asked for in the bars of some samples be far off."""
    target = noised.target.clone()
    target[rows, :, [0, 0]] += 1e3
    target[rows, :, [3, 3]] += 1e3
    return replace(noised, target=target)


def test_what_is_in_the_bars_teaches_a_token_nothing(tiny: Backbone) -> None:
    settings = TokenSettings(steps=2, batch_size=2, learning_rate=0.1)
    batches = ExemplarBatches(tiny, barred(exemplars=1), settings)
    start = tiny.word_embedding("person").expand(1, 1, -1)

    def learned(change: bool) -> torch.Tensor:
        def draw(generator: torch.Generator):  # type: ignore[no-untyped-def]
            batch = batches.draw(generator)
            return replace(batch, noised=spoiled(batch.noised, [0, 1])) if change else batch

        return learn_tokens(tiny, settings, start, draw, seed=0, progress=SILENT).vectors

    assert torch.equal(learned(True), learned(False))


def test_the_other_loops_have_the_masks_of_their_samples(tiny: Backbone) -> None:
    task = barred()
    masks = Exemplars(tiny, task).masks
    assert masks is not None
    quick = ADISettings(pool="joint", pool_steps=1, pool_sampling_steps=1, batch_size=8)
    triple = Triples(tiny, task, quick, 0, SILENT).draw(torch.Generator().manual_seed(0))
    assert triple.mask is not None and triple.mask.shape == (24, 1, 4, 4)
    anchors, context, action = triple.mask.unflatten(0, (8, 3)).unbind(1)
    assert torch.equal(anchors, action) and not torch.equal(anchors, context)
    batch = DreamBooth().exemplars(tiny, barred(exemplars=1))(torch.Generator().manual_seed(0))
    assert batch.mask is not None and torch.equal(batch.mask[0], masks[0])


@pytest.mark.parametrize("image", [padded(64, 32, 64), padded(32, 64, 64)])
def test_an_augmented_view_masks_the_exemplars_own_bars(image: Image.Image) -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(40):
        view = augmented(0, image, 64, 8, generator)
        black = np.asarray(view.image).max(2) < 8
        cells = ~black.reshape(8, 8, 8, 8).any((1, 3))
        assert view.mask.any() and not (view.mask[0].numpy().astype(bool) & ~cells).any()
