"""Hyper-parameters from the command line's words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest

from actionbench.errors import UserError
from actionbench.settings import NoSettings, build_settings, describe_settings, setting


@dataclass(frozen=True)
class Settings:
    steps: int = setting(500, "Optimizer steps.", low=1, high=10_000)
    lr: float = setting(1e-2, "Learning rate.", low=0)
    prompts: Literal["template", "caption"] = setting("template", "Training prompts.")
    per_layer: bool = setting(True, "A quantile a layer.")
    word: str | None = setting(None, "Initial word.")
    poses: tuple[str, ...] = setting(("stands",), "Other actions.")


def test_defaults_then_preset_then_words() -> None:
    made = build_settings(Settings, {"steps": 200, "lr": 0.5}, ["lr=2e-3", "prompts=caption"])
    assert made == Settings(steps=200, lr=2e-3, prompts="caption")


def test_every_kind_is_read() -> None:
    words = ["per-layer=false", "word=run", "poses=waves, squats", "steps = 7"]
    made = build_settings(Settings, {}, words)
    assert made == Settings(steps=7, per_layer=False, word="run", poses=("waves", "squats"))
    assert build_settings(Settings, {"word": "run"}, ["word=none"]).word is None


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("steps", "'steps' is not a setting: write key=value"),
        ("stepz=3", "unknown setting 'stepz': did you mean steps"),
        ("steps=1.5", "setting steps takes int, not '1.5'"),
        ("steps=0", "steps must lie between 1 and 10000, not 0"),
        ("steps=10001", "steps must lie between 1 and 10000"),
        ("lr=nan", "lr must"),
        ("lr=inf", "lr must"),
        ("lr=-1", "lr must lie between 0 and inf"),
        ("prompts=captoin", "unknown value of prompts 'captoin': did you mean caption"),
        ("per_layer=yes", "setting per_layer takes true or false"),
    ],
)
def test_a_word_that_is_not_valid_is_reported(word: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        build_settings(Settings, {}, [word])
    assert message in str(error.value)


def test_a_method_without_settings_takes_none() -> None:
    assert build_settings(NoSettings, {}, []) == NoSettings()
    with pytest.raises(UserError, match=r"unknown setting 'steps': valid: \(none\)"):
        build_settings(NoSettings, {}, ["steps=3"])


def test_the_description_shows_the_defaults_under_the_preset() -> None:
    rows = {row["name"]: row for row in describe_settings(Settings, {"steps": 200})}
    assert rows["steps"] == {
        "name": "steps",
        "kind": "int",
        "default": 200,
        "help": "Optimizer steps.",
        "source": "",
    }
    assert rows["prompts"]["kind"] == "template|caption"
    assert rows["word"]["kind"] == "str|none"
    assert rows["poses"]["kind"] == "a,b,..."
