"""Where settings come from: one rule for rates on any base model, a search, or the demo's cuts."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from actionbench.errors import UserError
from actionbench.files.models import ModelTraits, model_traits
from actionbench.registry import get_method, method_names
from actionbench.runs.options import Profile, RunOptions
from actionbench.runs.profiles import configure, figures, is_defined, rates, trains_on_prompts
from actionbench.settings import recorded_settings, restored_settings, setting
from actionbench.suite.shipped import BASE_MODEL
from tests.helpers.small_run import Drift, DriftSettings
from tests.runs.test_campaign import small_setup

PUPPETS = ModelTraits("puppet-diffusion", pretraining_rate=1e-3, token_rms=0.0215862)
SD = ModelTraits("sd-2.1")
TRAINED = [name for name in method_names() if rates(get_method(name))]


@dataclass(frozen=True)
class Settings(DriftSettings):
    unet_rate: float = setting(1e-5, "", low=0, rate="unet", source="read: here")
    token_rate: float | None = setting(2e-3, "", low=0, rate="token", before=None)
    sampling_steps: int = setting(40, "", low=1)
    prompts: Literal["template", "caption"] = setting("template", "")
    recipe: Literal["plain", "large"] = setting("plain", "", before="plain")


class Rated(Drift):
    name = "rated"
    Settings = Settings
    presets: ClassVar[dict[str, dict[str, Any]]] = {"puppet-diffusion": {"sampling_steps": 8}}
    tuned: ClassVar[dict[str, dict[str, Any]]] = {
        "puppet-diffusion": {"steps": 80, "unet_rate": 3e-4, "token_rate": None}
    }
    quick: ClassVar[dict[str, Any]] = {"lr": 0.5}
    recipes: ClassVar[dict[str, dict[str, Any]]] = {
        "plain": {},
        "large": {"steps": 900, "unet_rate": 2e-5},
    }


def made(traits: ModelTraits = PUPPETS, *words: str, **more: Any) -> Settings:
    settings: Any = configure(Rated, traits, words=words, **more).settings
    assert isinstance(settings, Settings)
    return settings


# -- published -----------------------------------------------------------------------------


def test_published_rates_are_scaled_by_the_two_base_models_alone() -> None:
    there = made(SD)
    assert (there.unet_rate, there.token_rate, there.steps) == (1e-5, 2e-3, 3)
    here = made()
    assert here.unet_rate == pytest.approx(1e-4)  # 1e-3 / 1e-4
    assert here.token_rate == pytest.approx(2e-3 * 0.02159 / 0.014, rel=2e-3)
    assert (here.steps, here.sampling_steps) == (3, 8)
    # A last bit of another machine's sum makes no other key.
    wobbly = dataclasses.replace(PUPPETS, token_rms=0.0215862 * (1 + 1e-12))
    assert made(wobbly) == here
    unknown = made(ModelTraits("mine"))
    assert (unknown.unet_rate, unknown.token_rate) == (1e-5, 2e-3)
    assert made(PUPPETS, "unet_rate=7e-5").unet_rate == 7e-5, "the user's word is not scaled"


def test_a_presets_own_rate_holds() -> None:
    class Own(Rated):
        presets: ClassVar[dict[str, dict[str, Any]]] = {"puppet-diffusion": {"unet_rate": 3e-3}}

    assert configure(Own, PUPPETS).settings.unet_rate == 3e-3


def test_every_figure_says_where_it_comes_from() -> None:
    rows = {name: f.origin for name, f in figures(Rated, PUPPETS, words=["steps=9"]).items()}
    assert rows["steps"] == "--set"
    assert rows["unet_rate"] == (
        "derived: 1e-05 x 0.001 / 0.0001 (pretraining rate here / SD's), 1e-05 read: here"
    )
    assert rows["token_rate"].startswith("derived: 0.002 x 0.02159 / 0.014 (token table's RMS")
    assert rows["sampling_steps"] == "substitute on puppet-diffusion"
    assert "not known" in figures(Rated, ModelTraits("mine"))["unet_rate"].origin
    assert figures(Rated, SD)["unet_rate"].origin == "read: here"
    assert figures(Rated, PUPPETS, "tuned")["steps"].origin == "search"
    assert figures(Rated, PUPPETS, prompts="caption")["prompts"].origin == "prompt block `caption`"


@pytest.mark.parametrize("name", method_names())
def test_every_shipped_setting_has_a_source(name: str) -> None:
    kind = get_method(name)
    for traits in (SD, PUPPETS):
        for setting_name, figure in figures(kind, traits).items():
            begins = figure.origin.split(":")[0].split(" on ")[0]
            assert begins in {"read", "derived", "recalled", "ours", "substitute"}, setting_name
    for field in dataclasses.fields(kind.Settings):
        assert ("learning_rate" in field.name) <= (
            field.metadata["rate"] is not None or field.type == "bool"
        )


def test_the_shipped_model_has_the_traits_that_were_computed_of_it() -> None:
    traits = model_traits("puppet-diffusion", BASE_MODEL)
    assert traits.pretraining_rate == 1e-3
    assert traits.token_rms == pytest.approx(0.0216, abs=5e-5)


def test_traits_of_half_precision_of_bfloat16_and_of_a_model_that_is_not_here(
    tiny_model: Path, tmp_path: Path
) -> None:
    own = model_traits(None, tiny_model)
    assert own.pretraining_rate is None and own.token_rms is not None
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    weights = folder / "text_encoder" / "model.safetensors"
    tensors = load_file(weights)
    (table,) = (t for name, t in tensors.items() if name.endswith("token_embedding.weight"))
    expected = float(np.sqrt((table.numpy().astype(np.float64) ** 2).mean()))
    assert own.token_rms == pytest.approx(expected)
    save_file({name: t.to(torch.bfloat16) for name, t in tensors.items()}, weights)
    assert model_traits(None, folder).token_rms == pytest.approx(expected, rel=1e-3)
    assert model_traits("sd-2.1", None) == model_traits("sd-2.1", tmp_path / "gone") == SD


# -- tuned and quick -----------------------------------------------------------------------


def test_tuned_is_what_the_search_chose_and_nothing_elsewhere() -> None:
    assert made(profile="tuned") == Settings(
        steps=80, unet_rate=3e-4, token_rate=None, sampling_steps=8
    )
    with pytest.raises(UserError, match=r"no search has chosen settings of rated for sd-2\.1: "):
        made(SD, profile="tuned")
    # What has no rate needs no search.
    assert configure(Drift, SD, "tuned").settings == DriftSettings()


def test_quick_cuts_steps_of_the_tuned_or_else_the_published_fits() -> None:
    short = made(profile="quick")
    assert (short.steps, short.sampling_steps, short.lr) == (20, 8, 0.5)
    assert short.unet_rate == 3e-4
    there = made(SD, profile="quick")
    assert (there.steps, there.sampling_steps) == (1, 40)


@pytest.mark.parametrize("name", TRAINED)
def test_quick_fits_of_the_shipped_methods_are_short(name: str) -> None:
    kind = get_method(name)
    searched: Profile = "tuned" if is_defined(kind, PUPPETS, "tuned") else "published"
    long, short = (configure(kind, PUPPETS, p).settings for p in (searched, "quick"))
    assert 1 < short.steps <= long.steps / 4


# -- recipes and prompts -------------------------------------------------------------------


def test_a_recipe_brings_its_figures_scaled_and_words_come_last() -> None:
    large = made(PUPPETS, "recipe=large", "steps=7")
    assert (large.recipe, large.steps) == ("large", 7)
    assert large.unet_rate == pytest.approx(2e-4)
    assert made(SD, "recipe=large").unet_rate == 2e-5
    with pytest.raises(UserError, match="unknown recipe 'largo': did you mean large"):
        made(PUPPETS, "recipe=largo")
    faces = configure(get_method("custom-diffusion"), SD, words=["recipe=diffusers-faces"]).settings
    assert (faces.steps, faces.batch_size, faces.trained) == (1000, 2, "cross-attention")
    original = configure(get_method("textual-inversion"), SD, words=["recipe=original"]).settings
    assert (original.steps, original.batch_size, original.learning_rate) == (6100, 2, 1e-2)


def test_a_block_sets_the_prompts_of_those_that_train_on_prompts() -> None:
    assert made(prompts="caption").prompts == "caption"
    assert made(prompts="own").prompts == "template"
    with pytest.raises(UserError, match="drift trains on no prompts: leave it out of --prompts"):
        configure(Drift, SD, prompts="caption")
    with pytest.raises(UserError, match="--set prompts= contradicts --prompts caption"):
        made(PUPPETS, "prompts=template", prompts="caption")
    blocked = {name for name in method_names() if trains_on_prompts(get_method(name))}
    assert blocked == set(method_names()) - {
        "stable-diffusion",
        "controlnet",
        "drawn",
        "other-action",
    }


# -- runs ----------------------------------------------------------------------------------


def test_a_run_names_its_profile_block_and_what_was_changed(
    tiny_model: Path, tmp_path: Path
) -> None:
    def planned(*words: str, **options: Any) -> Any:
        return small_setup(tiny_model, tmp_path, **options).plan(Rated, words)

    own, caption, by_hand = planned(), planned(prompts="caption"), planned("prompts=caption")
    assert [plan.prompts for plan in (own, caption, by_hand)] == ["own", "caption", "caption"]
    assert own.changed_settings == caption.changed_settings == {}
    assert by_hand.changed_settings == {"prompts": "caption"}
    assert caption.actions[0].fit_key == by_hand.actions[0].fit_key, "one fit serves both"
    assert caption.run_id == by_hand.run_id != own.run_id
    same = planned(prompts="template")
    assert same.actions[0].fit_key == own.actions[0].fit_key and same.run_id != own.run_id
    large = planned("recipe=large", "lr=0.2")
    assert large.changed_settings == {"recipe": "large", "lr": 0.2}
    assert planned(profile="quick").changed_settings == {}


def test_a_setting_that_changes_nothing_changes_no_key() -> None:
    old = {"steps": 3, "lr": 0.1, "unet_rate": 1e-5, "sampling_steps": 40, "prompts": "template"}
    assert recorded_settings(Settings(token_rate=None)) == old
    assert restored_settings(Settings, old) == Settings(token_rate=None)
    assert recorded_settings(Settings())["token_rate"] == 2e-3


def test_options_refuse_a_profile_that_is_none() -> None:
    with pytest.raises(UserError, match="profile 'best': choose one of published, tuned, quick"):
        RunOptions(profile="best")  # type: ignore[arg-type]


# -- the command ---------------------------------------------------------------------------


def test_the_list_prints_every_figure_with_its_origin(typed: Callable[..., Any]) -> None:
    listed = typed("methods", "list", "--settings", "--method", "p-plus,stable-diffusion")
    assert listed.returncode == 0
    text = " ".join(listed.stdout.replace("│", " ").split())
    assert "profile published on puppet-diffusion: pretraining rate 0.001" in text
    assert "token table's RMS 0.0216, computed" in text
    assert "0.00771" in text and "derived: 0.005 x 0.02159" in text
    assert "stable-diffusion has no settings" in text
    there = typed("methods", "list", "--settings", "--method", "p-plus", "--model", "sd-2.1")
    assert "0.005" in there.stdout and "the weights are not here" in there.stdout
    assert "rates stand as published" in there.stdout and "rate not known" not in there.stdout
    tuned = typed(
        *("methods", "list", "--settings", "--method", "p-plus"),
        *("--model", "sd-2.1", "--profile", "tuned"),
    )
    assert "no search has chosen settings of p-plus for sd-2.1" in tuned.stdout


def test_run_leaves_out_or_refuses_what_trains_on_no_prompts(
    typed: Callable[..., Any], tmp_path: Path
) -> None:
    words = ("run", "--dry-run", "--runs", tmp_path, "--prompts", "caption")
    asked = typed(*words, "--method", "p-plus,controlnet")
    assert asked.returncode == 2
    assert "controlnet trains on no prompts: leave it out of --prompts caption" in asked.stderr
    whole = typed(*words, "--method", "all")
    assert whole.returncode == 0
    assert "they train on none: controlnet, stable-diffusion" in whole.stdout
    assert "p-plus-" in whole.stdout and "controlnet-" not in whole.stdout


def test_all_under_tuned_leaves_out_what_was_not_searched(
    typed: Callable[..., Any], tmp_path: Path
) -> None:
    words = ("run", "--dry-run", "--runs", tmp_path, "--profile", "tuned")
    whole = typed(*words, "--method", "all")
    assert whole.returncode == 0
    assert (
        "because no search has chosen their settings for puppet-diffusion: dti, lora"
        in whole.stdout
    )
    assert "p-plus-" in whole.stdout and "lora-" not in whole.stdout
    asked = typed(*words, "--method", "p-plus,lora")
    assert asked.returncode == 2 and "no search has chosen settings of lora" in asked.stderr
