"""A suite's negative prompt: in the keys and the images, and nothing where there is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from actionbench.diffusion.backbone import Backbone
from actionbench.runs.plan import plan_run
from actionbench.suite.items import Sampling
from actionbench.suite.suite import Suite, suite_from
from actionbench.suite.yaml_file import read_definition, write_definition
from tests.helpers.small_run import Drift, small_plan, small_suite

DEFINITION = """\
name: mine
actions: paper
subjects: paper
"""


def of_file(folder: Path, text: str) -> Suite:
    file = folder / "suite.yaml"
    file.write_text(text, "utf-8")
    return suite_from(file, folder)


def test_a_file_may_have_one_and_one_without_stays_as_it_is(tmp_path: Path) -> None:
    plain = of_file(tmp_path, DEFINITION)
    assert plain.sampling.negative_prompt == "" and plain.prompt_facts == []
    again = tmp_path / "again.yaml"
    write_definition(plain, again)
    assert "negative_prompt" not in again.read_text("utf-8")
    own = of_file(tmp_path, DEFINITION + "negative_prompt: blurry,  bad hands\n")
    assert own.sampling.negative_prompt == "blurry, bad hands"
    assert own.prompt_facts == ["negative: blurry, bad hands"]
    write_definition(own, again)
    assert read_definition(again).sampling == own.sampling


def test_it_changes_the_images_keys_and_not_the_fits(tiny_model: Path, tmp_path: Path) -> None:
    plan = small_plan(tiny_model, tmp_path, Drift())
    suite = small_suite(tmp_path)
    other = replace(suite, sampling=replace(suite.sampling, negative_prompt="blurry"))
    changed = plan_run(
        suite=other, method=plan.method, source=plan.source, judge=plan.judge, options=plan.options
    )
    before, after = plan.actions[0], changed.actions[0]
    assert after.fit_key == before.fit_key
    assert after.image_key != before.image_key and changed.run_id != plan.run_id
    assert other.fingerprint != suite.fingerprint


def test_it_is_what_guidance_leads_away_from(tiny: Backbone) -> None:
    def drawn(negative: str, guidance: float = 4.0) -> np.ndarray:
        tiny.sampling = Sampling(2, guidance, negative)
        (image,) = tiny.generate(["a panda sits"], [1])
        return np.asarray(image, dtype=np.int16)

    plain, led = drawn(""), drawn("a red hat")
    assert np.abs(plain - led).max() > 1
    assert (drawn("a red hat", 1.0) == drawn("", 1.0)).all(), "without guidance it says nothing"
