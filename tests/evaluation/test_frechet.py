"""The Fréchet distance, by hand and in the encoder's features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from actionbench.errors import UserError
from actionbench.puppets.training.encoder import Encoder, EncoderRecipe, train_encoder
from actionbench.suite.shipped import ENCODER
from evaluation.judges import frechet
from evaluation.judges.acceptance import Row


def test_the_distance_of_two_gaussians() -> None:
    rng = np.random.default_rng(0)
    one = rng.normal(size=(20_000, 2))
    two = one * [2.0, 1.0] + [3.0, 0.0]
    assert frechet.distance(one, one) == pytest.approx(0, abs=1e-9)
    assert frechet.distance(one, two) == pytest.approx(9 + (2 - 1) ** 2, rel=0.02)
    assert frechet.distance(two, one) == pytest.approx(frechet.distance(one, two))


def test_the_second_world_is_set_beside_the_first() -> None:
    row = frechet.number("a", "", 2.0, 50)
    assert frechet.ratio_row(frechet.number("b", "", 5.0, 50), row).passed is True
    assert frechet.ratio_row(frechet.number("b", "", 3.0, 50), row).passed is False
    assert frechet.ratio_row(None, row).passed is False, "not measured is not kept"
    assert isinstance(row, Row) and not row.percent


@pytest.mark.parametrize("world", [frechet.FIRST, frechet.SECOND])
def test_the_shipped_encoder_tells_drawings_from_blurred_ones(world: str) -> None:
    encoder = Encoder.load(ENCODER)
    own, captions = frechet.DRAWINGS[world](150, 0)
    other, _ = frechet.DRAWINGS[world](150, 1)
    assert len(captions) == 150 and all(captions)
    rolled = [np.roll(own, shift, (1, 2)) for shift in (0, 1)]
    blurred = np.mean(rolled, axis=0).astype(np.uint8)
    features = encoder.features(own)
    assert features.shape == (150, EncoderRecipe().features)
    to_other = encoder.features(other)
    halves = frechet.distance(features, to_other)
    assert frechet.distance(encoder.features(blurred), to_other) > 1.2 * halves


def test_a_short_training_goes_on_and_ends_alike(tmp_path: Path) -> None:
    recipe = EncoderRecipe().scaled(0.002)
    one = train_encoder(tmp_path / "one", tmp_path / "work", recipe)
    two = train_encoder(tmp_path / "two", tmp_path / "work", recipe)
    assert Encoder.load(one).features(np.zeros((2, 64, 64, 3), np.uint8)).shape == (2, 64)
    with pytest.raises(UserError, match="holds no encoder of drawings"):
        Encoder.load(tmp_path)
    weights = [(folder / "model.safetensors").read_bytes() for folder in (one, two)]
    assert weights[0] == weights[1]
