"""What a command imports is what its user waits for."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("cli", {"torch", "diffusers", "transformers", "pandas", "matplotlib", "datasets"}),
        (
            "actionbench.runs.execute",
            {"torch", "diffusers", "transformers", "matplotlib", "datasets"},
        ),
        ("evaluation.tables", {"torch", "pandas", "rich", "numpy"}),
        ("evaluation.judges.puppet", {"torch", "diffusers", "transformers"}),
        # A method's settings are read for every plan and board, the backbone is not.
        ("methods.adi", {"diffusers", "transformers"}),
        ("methods.textual_inversion", {"diffusers", "transformers"}),
        ("methods.reversion", {"diffusers", "transformers"}),
        ("methods.controlnet", {"torch", "diffusers", "transformers"}),
    ],
)
def test_importing_costs_no_more_than_it_must(module: str, unwanted: set[str]) -> None:
    code = f"import {module}, sys; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not unwanted & set(loaded)
