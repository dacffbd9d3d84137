from __future__ import annotations

from pathlib import Path

import pytest
import torch

from actionbench.backbone import Backbone
from actionbench.tiny import load_tiny, tiny_pipeline

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny epsilon-prediction pipeline with 16 cross-attention layers."""
    return tiny_pipeline(tmp_path_factory.mktemp("tiny-model"))


@pytest.fixture
def tiny(tiny_model: Path) -> Backbone:
    """The tiny pipeline as a backbone, loaded anew for each test."""
    return load_tiny(tiny_model)
