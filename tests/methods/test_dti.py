"""DTI: the direction learns, and the norm does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from actionbench.diffusion.backbone import Backbone
from actionbench.diffusion.token_learning import LearningSettings, TokenMethod
from actionbench.files.models import ModelTraits
from actionbench.method import FitRequest
from actionbench.plugins.tiny import load_tiny, tiny_task
from actionbench.plugins.tiny_xl import tiny_xl_pipeline
from actionbench.progress import SILENT
from actionbench.runs.profiles import configure
from methods.dti import DTI, Settings, SphereDescent

QUICK = Settings(steps=3, batch_size=2)


@pytest.fixture(scope="module")
def xl_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_xl_pipeline(tmp_path_factory.mktemp("xl"))


@pytest.fixture
def xl(xl_model: Path) -> Backbone:
    return load_tiny(xl_model)


def fitted(backbone: Backbone, settings: Settings = QUICK) -> Tensor:
    method = DTI(settings)
    return method.fit(backbone, tiny_task(), seed=0, progress=SILENT).tensors["vectors"]


# -- the step ------------------------------------------------------------------------------


def test_a_step_by_hand() -> None:
    """On the circle of radius 2, with v = mu = (1, 0): the prior has no part along the tangent.

    The loss's gradient with respect to v is 2 (3, 4); its tangent part (0, 8) is brought to length
    1, and the step to (1, -0.5), brought back to the sphere.
    """
    vectors = torch.tensor([[[[2.0, 0.0]]]])
    descent = SphereDescent(vectors, replace(QUICK, learning_rate=0.5, kappa=7.0), [2])
    descent.step(torch.tensor([[[[3.0, 4.0]]]]))
    expected = 2 * torch.tensor([1.0, -0.5]) / 1.25**0.5
    torch.testing.assert_close(vectors.flatten(), expected)


def test_the_prior_weighs_against_the_loss() -> None:
    """Away from mu, kappa = 2 m |de| balances a loss that pulls at a right angle to v."""

    def after(kappa: float) -> Tensor:
        vectors = torch.tensor([[[[0.0, 3.0, 0.0]]]])
        descent = SphereDescent(vectors, replace(QUICK, learning_rate=0.1, kappa=kappa), [3])
        descent.start = torch.tensor([[[[3.0, 0.0, 0.0]]]])  # mu at a right angle to v
        descent.step(torch.tensor([[[[0.0, 0.0, 1.0]]]]))
        return vectors.flatten()

    free, tied = after(0.0), after(6.0)
    assert free[0] == 0 and free[2] < 0
    # -3 along the loss's axis and -6 along mu's, of length 1 together.
    torch.testing.assert_close(tied[0] / -tied[2], torch.tensor(2.0))
    torch.testing.assert_close(torch.stack([free.norm(), tied.norm()]), torch.full((2,), 3.0))


def test_each_identifier_steps_as_if_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(3, 2, 1, 6, generator=generator)
    slope = torch.randn(3, 2, 1, 6, generator=generator) * torch.tensor([1e-3, 1.0, 1e3]).reshape(
        3, 1, 1, 1
    )
    together = start.clone()
    descent = SphereDescent(together, QUICK, [2, 4])
    descent.step(slope)
    descent.keep([0, 2])
    descent.step(slope[[0, 2]])
    for row, vectors in zip((0, 2), descent.vectors, strict=True):
        single = SphereDescent(start[row : row + 1].clone(), QUICK, [2, 4])
        for _ in range(2):
            single.step(slope[row : row + 1])
        torch.testing.assert_close(vectors, single.vectors[0])


def test_a_direction_has_no_channels_that_stay() -> None:
    descent = SphereDescent(torch.ones(1, 1, 1, 2), QUICK, [2])
    with pytest.raises(ValueError, match="no channels that stay"):
        descent.step(torch.ones(1, 1, 1, 2), torch.ones(1, 1, 1, 2, dtype=torch.bool))


# -- the fit -------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["min", "mean", "max"])
def test_the_norm_is_the_vocabularys_from_start_to_end(tiny: Backbone, norm: str) -> None:
    norms = tiny.token_norms()
    expected = getattr(norms[norms > 0], norm)()
    start = DTI(replace(QUICK, norm=norm)).start(tiny, 1)
    learned = fitted(tiny, replace(QUICK, norm=norm))
    torch.testing.assert_close(start.norm(), expected)
    torch.testing.assert_close(learned.norm(), expected)
    word = tiny.word_embedding("person")
    torch.testing.assert_close(normalize(start.flatten(), dim=0), normalize(word, dim=0))


def test_a_step_turns_the_direction_by_the_rate(tiny: Backbone) -> None:
    settings = replace(QUICK, steps=1, learning_rate=0.3)
    start, learned = DTI(settings).start(tiny, 1).flatten(), fitted(tiny, settings).flatten()
    cosine = start @ learned / start.norm() / learned.norm()
    torch.testing.assert_close(cosine.arccos(), torch.tensor(0.3).arctan())


def test_with_two_encoders_each_table_has_a_norm_and_a_step_of_its_own(xl: Backbone) -> None:
    widths = [int(table.shape[1]) for table in xl.token_tables]
    settings = replace(QUICK, steps=1, learning_rate=0.3)
    starts = DTI(settings).start(xl, 1).flatten().split(widths)
    for start, learned, table in zip(
        starts, fitted(xl, settings).flatten().split(widths), xl.token_tables, strict=True
    ):
        norms = table.norm(dim=-1)
        torch.testing.assert_close(learned.norm(), norms[norms > 0].mean())
        cosine = start @ learned / start.norm() / learned.norm()
        torch.testing.assert_close(cosine.arccos(), torch.tensor(0.3).arctan())


def test_fits_in_lockstep_are_the_fits_alone(tiny: Backbone) -> None:
    method = DTI(replace(QUICK, steps=4))
    requests = [FitRequest(tiny_task(a), s, SILENT) for a, s in (("cheer", 1), ("gesture", 2))]
    for request, together in zip(requests, method.fit_many(tiny, requests), strict=True):
        assert not isinstance(together, Exception)
        alone = method.fit(tiny, request.task, seed=request.seed, progress=SILENT)
        torch.testing.assert_close(
            together.tensors["vectors"], alone.tensors["vectors"], rtol=0, atol=1e-5
        )


# -- settings ------------------------------------------------------------------------------


def test_the_rate_is_an_angle_and_the_same_on_every_model() -> None:
    puppets = ModelTraits("puppet-diffusion", pretraining_rate=1e-3, token_rms=0.0216)
    for traits in (ModelTraits("sd-2.1"), puppets):
        assert configure(DTI, traits).settings.learning_rate == 0.04
        assert configure(DTI, traits, words=["recipe=readme"]).settings.learning_rate == 0.01
    assert configure(DTI, ModelTraits("sana-1.5")).settings.kappa == 5e-5


def test_settings_without_adamws_need_an_optimizer(tiny: Backbone) -> None:
    class Forgotten(TokenMethod[LearningSettings]):
        name, title, reference, Settings = "forgotten", "Forgotten", "here", LearningSettings

    with pytest.raises(TypeError, match="LearningSettings has no settings of AdamW: derive it"):
        Forgotten(LearningSettings(steps=1)).fit(tiny, tiny_task(), seed=0, progress=SILENT)
