"""Compare the steps of DreamBooth and Custom Diffusion with a bare step of the same parameters.

    python benchmarks/finetune_steps.py [--model PATH_OR_ID] [--steps 20] [--device cpu]

The bare step has its noised batch ready and does only what is necessary: the text encoder if the
token is learned, the UNet forward and backward, AdamW. Both are timed in turns and the medians
compared. Target: at most 1.2 times.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from rate import share, step_flops
from torch import Tensor

from actionbench.diffusion.backbone import Backbone
from actionbench.diffusion.denoising import add_noise, losses
from actionbench.diffusion.finetune import (
    Draw,
    FinetuneBatch,
    class_latents,
    restored,
    train_unet,
    with_prior,
)
from actionbench.files.models import ModelTraits, resolve_model
from actionbench.method import Method
from actionbench.progress import SILENT
from actionbench.runs.profiles import configure
from actionbench.suite.suite import get_suite
from methods.custom_diffusion import (
    CustomDiffusion,
    first_position_detached,
    key_value_projections,
)
from methods.dreambooth import DreamBooth

TARGET = 1.2
ROUNDS = 5


@dataclass(frozen=True)
class Row:
    """A method whose step is timed."""

    method: Method[Any]
    draw: Draw
    batch: FinetuneBatch
    """The only batch of the bare step."""
    encode: Callable[[], Tensor]
    """Returns that batch's states."""
    parameters: list[Tensor]
    detached: Sequence[torch.nn.Module] = ()


def bare(backbone: Backbone, row: Row, steps: int) -> None:
    """Do steps on one batch with one noise."""
    noised = add_noise(backbone, row.batch.latents, torch.Generator().manual_seed(0))
    for parameter in row.parameters:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(row.parameters, lr=1e-6, fused=True)
    for _ in range(steps):
        losses(backbone, noised, row.encode()).mean().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def main() -> None:
    suite = get_suite("puppets")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=suite.model)
    parser.add_argument("--steps", type=int, default=20, help="steps of each timing")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()

    source = resolve_model(options.model)
    backbone = Backbone.load(source, device=options.device)
    unet = backbone.denoiser
    task = next(iter(suite.tasks.values()))
    generator = torch.Generator().manual_seed(0)

    def settings_of(method: Any) -> Any:
        return configure(method, ModelTraits(backbone.preset), "tuned").settings

    dreambooth = DreamBooth(settings_of(DreamBooth))
    custom = CustomDiffusion(settings_of(CustomDiffusion))
    started = time.perf_counter()
    class_latents(backbone, dreambooth.settings, SILENT)
    print(f"class images, once for all fits {time.perf_counter() - started:.1f} s")
    unet_draw = with_prior(
        backbone, dreambooth.exemplars(backbone, task), dreambooth.settings, SILENT
    )
    unet_batch = unet_draw(generator)
    token, draw = custom.exemplars(backbone, task, generator)
    token_draw = with_prior(backbone, draw, custom.settings, SILENT)
    token_batch = token_draw(generator)
    prompts = [backbone.tokenize(custom.settings.templates[0])] * custom.settings.batch_size
    projections = key_value_projections(backbone)

    def encode() -> Tensor:
        learned = backbone.encode_prompts(prompts, token.unsqueeze(0))
        return torch.cat([learned, token_batch.states[len(prompts) :].detach()])

    rows = [
        Row(dreambooth, unet_draw, unet_batch, lambda: unet_batch.states, [*unet.parameters()]),
        Row(
            *(custom, token_draw, token_batch, encode),
            [*(w for p in projections for w in p.parameters()), token],
            projections,
        ),
    ]

    def timed(work: Callable[[], Any]) -> float:
        with restored(unet):
            began = time.perf_counter()
            work()
            if options.device == "cuda":
                torch.cuda.synchronize()
            return (time.perf_counter() - began) / int(options.steps)

    print(f"{options.model}: {len(backbone.layers)} layers, {torch.get_num_threads()} threads")
    for row in rows:
        train = partial(
            train_unet, backbone, row.draw, steps=options.steps, learning_rate=1e-6,
            generator=generator, parameters=row.parameters,
        )  # fmt: skip
        floor = partial(bare, backbone, row, options.steps)
        times = []
        for _ in range(ROUNDS):
            with first_position_detached(row.detached):
                whole = timed(train)
            times.append((whole, timed(floor)))
        fit, least = (1000 * statistics.median(column) for column in zip(*times))
        flops = step_flops(row.method, source.path, len(backbone.layers))
        print(
            f"{row.method.title:18} {fit:7.1f} ms a step, bare {least:7.1f}: {fit / least:.2f} "
            f"times (target: at most {TARGET}), {share(flops, fit / 1000, options.device)} in a "
            "matrix product"
        )


if __name__ == "__main__":
    main()
