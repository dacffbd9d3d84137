"""The readers of keypoints and subjects: their pictures, losses, and a very short training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from actionbench.photos.keypoints import WIDENED, KeypointReader, to_coco
from actionbench.puppets.training.corpus import SIZE, to_pixels
from actionbench.puppets.training.keypoint_reader import (
    KeypointBatches,
    KeypointRecipe,
    decoded,
    heatmaps,
    losses,
    new_network,
    train_keypoint_reader,
)
from actionbench.puppets.training.reading import (
    Pictures,
    degraded,
    moved,
    reading_scene,
    readings,
    round_trip,
)
from actionbench.puppets.training.recipe import Recipe
from actionbench.puppets.training.subject_reader import (
    SubjectReader,
    SubjectRecipe,
    train_subject_reader,
)
from actionbench.suite.items import NONE, paper_subjects

KEYPOINTS = replace(KeypointRecipe().scaled(0.001), width=24, layers=2, heads=2, batch=4)
SUBJECTS = replace(SubjectRecipe().scaled(0.001), widths=(8, 8, 8, 8), hidden=16, batch=8)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


class Halved:
    """Stands for an autoencoder: latents are the picture at half its size."""

    device = "cpu"

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"weight": torch.ones(1)}

    def encode(self, pixels: torch.Tensor) -> SimpleNamespace:
        small = torch.nn.functional.avg_pool2d(pixels, 2)
        return SimpleNamespace(latent_dist=SimpleNamespace(mean=small))

    def decode(self, latents: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(sample=torch.nn.functional.interpolate(latents, scale_factor=2))


def test_pictures_show_anybody_on_two_legs_and_four() -> None:
    rng = np.random.default_rng(0)
    rows = [reading_scene(rng, Recipe()).row for _ in range(300)]
    assert {row["group"] for row in rows} == {"named", "other", "person"}
    assert {row["kind"] for row in rows} >= {"wild", "free", "known", "exact", "loose", "stance"}
    animals = [row["four_legged"] for row in rows if row["animal"]]
    assert 0.35 < np.mean(animals) < 0.65


def test_pictures_are_degraded_alike_by_the_same_seed(work: Path) -> None:
    pixels = to_pixels(readings(work, 11, 40).images[:8], "cpu")
    one, two, other = (degraded(pixels, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(one, two) and not torch.equal(one, other)
    assert one.shape == pixels.shape and one.abs().max() <= 1
    assert 0 < (one - pixels).abs().mean() < 0.3
    right = moved(pixels, (2, -1))
    assert torch.equal(right[..., :-1, 2:], pixels[..., 1:, :-2]) and right.shape == pixels.shape


def test_a_third_of_each_batch_has_been_through_the_autoencoder(work: Path) -> None:
    data = readings(work, 11, 40)
    pictures = Pictures(data, Halved(), 12)
    pixels, rows = pictures.batch(9, 0, 0)
    assert pictures.trips is not None and (rows[:3] < 12).all()
    assert torch.equal(pixels[3:], to_pixels(data.images[rows[3:]], "cpu"))
    assert torch.equal(pixels[:3], to_pixels(pictures.trips[rows[:3]], "cpu"))
    assert pictures.key != Pictures(data).key
    plain = round_trip(Halved(), data.images[:2])
    assert plain.shape == (2, 64, 64, 3) and np.abs(plain[0, :2, :2] - plain[0, 0, 0]).max() == 0


def test_places_are_read_as_the_image_processor_reads_them(work: Path) -> None:
    """Targets of the training come back as the drawings' keypoints from the stock decoding."""
    from transformers.models.vitpose.image_processing_pil_vitpose import VitPoseImageProcessorPil

    recipe = replace(KEYPOINTS, move=0, covered=0.0)
    batches = KeypointBatches(recipe, Pictures(readings(work, 11, 40)))
    _, places, visible = batches(0)
    maps = heatmaps(places, visible, recipe.cells, recipe.spread)
    read, sure = decoded(maps)
    assert ((read - places).norm(dim=-1) * visible).max() < 0.2
    assert (sure[visible > 0]).all()
    processor = VitPoseImageProcessorPil(size={"height": recipe.image, "width": recipe.image})
    inner = (recipe.image - 1) / WIDENED
    box = [(recipe.image - 1 - inner) / 2] * 2 + [inner] * 2
    found = processor.post_process_pose_estimation(
        SimpleNamespace(heatmaps=maps), boxes=[[box]] * len(maps)
    )
    points = np.stack([body["keypoints"].numpy() for (body,) in found]) / recipe.image
    _, rows = batches.pictures.batch(recipe.batch, recipe.seed, 0)
    true = to_coco(batches.pictures.data.keypoints[rows])
    off = np.linalg.norm(points - true[..., :2], axis=-1) * SIZE
    assert off[true[..., 2] > 0].max() < 0.6, "of 64 pixels"


def test_the_loss_is_least_where_the_heatmaps_are_the_targets() -> None:
    recipe = KEYPOINTS
    places = torch.rand(2, 17, 2) * (recipe.cells - 5) + 2
    visible = torch.ones(2, 17)
    visible[:, 3] = 0
    right = heatmaps(places, visible, recipe.cells, recipe.spread)
    wrong = heatmaps(places + 0.4, visible, recipe.cells, recipe.spread)
    good, bad = (losses(maps, places, visible, recipe) for maps in (right, wrong))
    for term in ("height", "cell", "place"):
        assert good[term] < 0.02 < bad[term]
    assert good["_within_2"] == 1 and bad["_pixels"] > good["_pixels"]


def test_what_is_covered_is_not_visible(work: Path) -> None:
    recipe = replace(KEYPOINTS, covered=1.0, batch=16)
    _, _, visible = KeypointBatches(recipe, Pictures(readings(work, 11, 40)))(0)
    _, _, bare = KeypointBatches(replace(recipe, covered=0.0), Pictures(readings(work, 11, 40)))(0)
    assert (visible <= bare).all() and visible.sum() < bare.sum()


def test_a_short_training_gives_a_reader_like_any_vitpose(work: Path, tmp_path: Path) -> None:
    folder = train_keypoint_reader(tmp_path / "keypoints", work, KEYPOINTS)
    assert load_file(folder / "model.safetensors")["head.conv.weight"].dtype == torch.float16
    reader = KeypointReader(pose_model=str(folder), detector=None, min_visible=0)
    image = Image.new("RGB", (64, 64), (90, 120, 200))
    (points,) = reader.find([image])
    assert points is not None and points.shape == (18, 3)
    again = train_keypoint_reader(tmp_path / "again", work, KEYPOINTS)
    one, two = (load_file(f / "model.safetensors") for f in (folder, again))
    assert all(torch.equal(one[name], two[name]) for name in one), "continued: nothing to do"


def test_the_shipped_size_is_small() -> None:
    count = sum(p.numel() for p in new_network(KeypointRecipe()).parameters())
    assert 2 * count < 3_000_000


def test_a_short_training_gives_a_reader_of_subjects(work: Path, tmp_path: Path) -> None:
    folder = train_subject_reader(tmp_path / "subjects", work, SUBJECTS, Halved())
    reader = SubjectReader.load(folder)
    assert reader.subjects == [*(s.name for s in paper_subjects()), NONE]
    found = reader.read([Image.new("RGB", (size, size), (200, 90, 30)) for size in (64, 512)])
    assert found.shape == (2, 24) and found.sum(1) == pytest.approx(1)
    assert found[0] == pytest.approx(found[1], abs=1e-5)
    assert sum(p.numel() for p in SubjectReader.load(folder).network.parameters()) < 1e5
