from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from actionbench.diffusion.backbone import Backbone
from actionbench.diffusion.denoising import add_noise
from actionbench.diffusion.token_learning import ExemplarBatches, Fit
from actionbench.errors import UserError
from actionbench.method import MEASURES
from actionbench.plugins.tiny import tiny_task
from actionbench.progress import SILENT, Progress
from actionbench.suite.items import SLOT, development_actions, paper_actions
from methods.reversion import BASES, ReVersion, Settings, Steering, focal_weights, steering_loss

QUICK = Settings(steps=2, batch_size=2)


def test_the_steering_loss_worked_out_by_hand() -> None:
    """Cosines 1 and 0 of the positives, -1 of the negative; over a temperature of 0.5."""
    r = torch.tensor([[3.0, 0.0]])
    positives = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    negatives = torch.tensor([[-1.0, 0.0]])
    near, far = math.exp(2) + 1, math.exp(-2)
    expected = -math.log(near / (near + far))
    assert float(steering_loss(r, positives, negatives, 0.5)) == pytest.approx(expected)
    none = steering_loss(r, positives, negatives[:0], 0.5)
    assert float(none) == 0, "nothing to be steered away from"
    both = steering_loss(torch.cat([r, -r]), positives, negatives, 0.5)
    other = -math.log((math.exp(-2) + 1) / (math.exp(-2) + 1 + math.exp(2)))
    assert float(both) == pytest.approx((expected + other) / 2)


def test_large_timesteps_are_drawn_more_often(tiny: Backbone) -> None:
    half = 0.5 * math.sqrt(0.5)
    expected = [0.5, 1 - half, 1.0, 1 + half]
    assert focal_weights(4, 0.5).tolist() == pytest.approx(expected)
    assert focal_weights(4, 0.0).tolist() == [1.0] * 4
    noised = add_noise(
        tiny,
        torch.zeros(4000, 1, 1, 1),
        torch.Generator().manual_seed(0),
        timestep_weights=focal_weights(1000, 0.5),
    )
    late = (noised.timesteps >= 500).float().mean()
    assert float(late) == pytest.approx(0.5 + 0.5 / math.pi, abs=0.03)  # the density's integral


def test_the_timesteps_of_a_fit_are_the_focal_ones(tiny: Backbone) -> None:
    only = torch.zeros(1000)
    only[7] = 1
    draw = ExemplarBatches(tiny, tiny_task(), QUICK, only).draw
    assert draw(torch.Generator().manual_seed(0)).noised.timesteps.tolist() == [7, 7]


def words(backbone: Backbone, text: str) -> torch.Tensor:
    ids = backbone.pipeline.tokenizer(text, add_special_tokens=False).input_ids
    table = backbone.pipeline.text_encoder.get_input_embeddings().weight
    return torch.nn.functional.normalize(table[ids], dim=-1)


def test_negatives_are_what_a_caption_names(tiny: Backbone) -> None:
    prompt = tiny.tokenize(f"a person with red hair {SLOT} on the shirt")
    expected = words(tiny, "person red hair shirt")
    torch.testing.assert_close(Steering(tiny, QUICK).named(prompt), expected)
    own = Steering(tiny, replace(QUICK, basis=("red", "shirt")))
    torch.testing.assert_close(own.basis, words(tiny, "red shirt"))
    torch.testing.assert_close(own.named(prompt), words(tiny, "person hair"))
    assert own.named(tiny.tokenize(f"the {SLOT}")).shape == (0, tiny.width)


def test_positives_are_drawn_for_each_image_without_repetition(
    tiny: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []

    def keep(vectors: torch.Tensor, positives: torch.Tensor, *more: object) -> torch.Tensor:
        seen.append(positives)
        return vectors.sum()

    monkeypatch.setattr("methods.reversion.steering_loss", keep)
    settings = replace(QUICK, basis=("red", "green", "blue"), positives=2)
    steering = Steering(tiny, settings)
    batch = ExemplarBatches(tiny, tiny_task(), settings).draw(torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(0)
    for _ in range(100):
        steering.loss(torch.ones(1, 1, 1, tiny.width), batch, generator)
    rows = [[steering.basis.tolist().index(p) for p in drawn.tolist()] for drawn in seen]
    assert all(len(row) == 4 and row[0] != row[1] and row[2] != row[3] for row in rows)
    assert {tuple(row[:2]) for row in rows} == {(a, b) for a in range(3) for b in range(3)} - {
        (a, a) for a in range(3)
    }
    Steering(tiny, replace(settings, positives=9)).loss(
        torch.ones(1, 1, 1, tiny.width), batch, generator
    )
    assert len(seen[-1]) == 6, "all three for each image where there are no more"


def test_the_token_is_drawn_to_the_basis_and_away_from_the_captions(tiny: Backbone) -> None:
    def similarity(weight: float) -> tuple[float, float]:
        settings = replace(
            QUICK, steps=15, learning_rate=0.2, steer_weight=weight, basis=("in",), positives=1
        )
        fitted = ReVersion(settings).fit(tiny, tiny_task(), seed=0, progress=SILENT)
        r = torch.nn.functional.normalize(fitted.tensors["vectors"].flatten(), dim=0)
        near, far = words(tiny, "in") @ r, words(tiny, "person red green blue hair") @ r
        return float(near), float(far.mean())

    (near, far), (plain_near, plain_far) = similarity(100.0), similarity(0.0)
    assert near > plain_near + 0.2
    assert far < plain_far


def test_basis_words_that_the_tokenizer_does_not_know_are_told(tiny: Backbone) -> None:
    with pytest.raises(UserError, match=r"none of the 2 basis words \(zebra, xylophone\).*--set"):
        ReVersion(replace(QUICK, basis=("zebra", "xylophone"))).fit(
            tiny, tiny_task(), seed=0, progress=SILENT
        )


def test_a_small_basis_is_noted_and_its_size_recorded(tiny: Backbone) -> None:
    class Notes(Progress):
        def __init__(self) -> None:
            self.texts: list[str] = []

        def note(self, text: str) -> None:
            self.texts.append(text)

    notes = Notes()
    few = ReVersion(replace(QUICK, basis=("red", "blue", "qqq")))
    fitted = few.fit(tiny, tiny_task(), seed=0, progress=notes)
    assert fitted.facts[MEASURES]["basis_words"] == 2
    (note,) = notes.texts
    assert "basis has 2 words that tiny knows, the paper's has 56" in note
    known = [word for word in tiny.pipeline.tokenizer.get_vocab() if word.endswith("</w>")]
    many = tuple(word.removesuffix("</w>") for word in known if word.removesuffix("</w>").isalpha())
    fit = Fit(tiny, tiny_task(), 0, notes)
    ReVersion(replace(QUICK, basis=many)).extra_loss(fit)
    assert len(notes.texts) == 1 and fit.measures["basis_words"] > 20


def test_the_lists_of_basis_words() -> None:
    lists = {name: text.split() for name, text in BASES.items()}
    assert len(set(lists["prepositions"])) == len(lists["prepositions"]) == 56
    assert len(set(lists["verbs"])) == len(lists["verbs"])
    measured = {a.description.split()[0] for a in (*paper_actions(), *development_actions())}
    assert not measured & set(lists["verbs"])
