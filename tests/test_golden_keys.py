"""No key, fingerprint or run id changes by moving code: `golden/keys.json` was made at b82ca29.

A change that means to change a key writes the file anew (`python -m tests.test_golden_keys`) and
says why in its commit.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from actionbench.files.models import ModelSource, ModelTraits
from actionbench.registry import get_method, make_judge, method_names
from actionbench.runs.options import Profile, RunOptions
from actionbench.runs.plan import fit_seed, plan_run
from actionbench.runs.profiles import configure, is_defined
from actionbench.settings import restored_settings
from actionbench.suite.items import Sampling
from actionbench.suite.suite import Suite, get_suite
from leaderboards.reference import find_reference

FILE = Path(__file__).parent / "golden" / "keys.json"
PRESETS = (None, "puppet-diffusion", "sd-2.1")
WEIGHTS = "0123456789abcdef"
"""A fixed fingerprint for the weights, which other commits may change."""


class FixedWeights:
    """A fixed fingerprint for a method that is fingerprinted by a folder's weights."""

    fingerprint = "fedcba9876543210"


def _method(name: str, preset: str | None, profile: Profile) -> Any:
    kind = get_method(name)
    fixed = type(kind.__name__, (FixedWeights, kind), {}) if name == "controlnet" else kind
    traits = ModelTraits(preset)
    return configure(fixed, traits, profile if is_defined(kind, traits, profile) else "published")


def _suites() -> list[Suite]:
    puppets = get_suite("puppets")
    return [
        puppets,
        get_suite("puppets-dev"),
        replace(
            puppets,
            name="own",
            protocol="own-{judge}-v1",
            prompt="{action}, {subject}",
            sampling=Sampling(steps=3, guidance_scale=2.5),
        ),
    ]


def keys(runs: Path) -> dict[str, Any]:
    """Return the keys of fits, images, verdicts and runs for fixed fixtures, by their subject."""
    values: dict[str, Any] = {"fit_seed": [fit_seed(0, "sit"), fit_seed(7, "salute")]}
    for suite in _suites():
        judge = make_judge("puppet", suite)
        fixed = type("FixedJudge", (type(judge),), {"fingerprint": "00000000ffffffff"})(suite)
        values[f"suite {suite.name}"] = suite.fingerprint
        for preset in PRESETS:
            source = ModelSource(Path("model"), "model", preset, WEIGHTS)
            # What a search chose is known for the miniature alone.
            profile: Profile = "tuned" if preset == "puppet-diffusion" else "published"
            for name in method_names():
                plan = plan_run(
                    suite=suite,
                    method=_method(name, preset, profile),
                    source=source,
                    judge=fixed,
                    options=RunOptions(
                        runs=runs,
                        actions=tuple(action.name for action in suite.actions[:2]),
                        subjects=("panda", "Batman"),
                        images_per_pair=2,
                        seed=3,
                        dtype="bfloat16",
                        profile=profile,
                    ),
                )
                values[f"{suite.name} {preset} {name}"] = {
                    "run": plan.run_id,
                    **{
                        action.action.name: [action.fit_key, action.image_key, action.verdict_key]
                        for action in plan.actions
                    },
                    "items": [item.seed for item in plan.actions[0].items],
                }
    return values


def test_keys_of_fixed_inputs_are_those_of_the_first_release(tmp_path: Path) -> None:
    assert keys(tmp_path) == json.loads(FILE.read_text())


def test_kept_runs_are_planned_under_their_own_ids(tmp_path: Path) -> None:
    """The kept board's runs: the same command would find them, whatever has moved since."""
    reference = find_reference("puppets-v1")
    records = [json.loads(p.read_text()) for p in reference.glob("runs/*/run.json")]
    assert len(records) == 8
    for record in records:
        suite = get_suite(record["suite"])
        judge = make_judge(record["judge"]["name"], suite)
        fixed = type("FixedJudge", (type(judge),), {"fingerprint": record["judge"]["fingerprint"]})
        model = record["model"]
        source = ModelSource(Path("m"), model["name"], model["preset"], model["fingerprint"])
        kind = get_method(record["method"])
        method = kind(restored_settings(kind.Settings, record["settings"]))
        plan = plan_run(
            suite=suite,
            method=method,
            source=source,
            judge=fixed(suite),
            options=RunOptions(
                runs=tmp_path,
                actions=tuple(record["actions"]),
                subjects=tuple(record["subjects"]),
                images_per_pair=record["images_per_pair"],
                seed=record["seed"],
                dtype=record["dtype"],
                profile="tuned",
            ),
        )
        assert plan.run_id == record["id"]


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    text = json.dumps(keys(Path("no-runs")), indent=1)
    FILE.write_text(text + "\n", "utf-8")
