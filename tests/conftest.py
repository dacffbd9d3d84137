from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

# One thread here and in every process that a test starts: sums over another number of threads
# differ in their last bits, and tests compare bits. Before torch is imported, which reads it.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
import torch

import actionbench.runs.workers.choose
import cli
from actionbench.diffusion.backbone import Backbone
from actionbench.plugins.tiny import load_tiny, tiny_pipeline

torch.set_num_threads(1)
# Runs are done in this process unless a test asks for workers: each is seconds of imports.
actionbench.runs.workers.choose.cores = lambda: 1


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a tiny epsilon-prediction pipeline with 16 cross-attention layers."""
    return tiny_pipeline(tmp_path_factory.mktemp("tiny-model"))


@pytest.fixture
def tiny(tiny_model: Path) -> Backbone:
    """Load the tiny pipeline as a backbone, anew for each test."""
    return load_tiny(tiny_model)


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def typed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """Run a command in this process: a new one spends most of its time on imports."""

    def typed(*words: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", ["actionbench", *map(str, words)])
        with pytest.raises(SystemExit) as exited:
            cli.main()
        printed = capsys.readouterr()
        return Done(int(exited.value.code or 0), printed.out, printed.err)

    return typed
