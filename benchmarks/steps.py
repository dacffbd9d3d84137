"""Compare ADI's step with plain token learning on as many samples and as much text.

    python benchmarks/steps.py [--model PATH_OR_ID] [--steps 40] [--device cpu]

Both train three samples per step under three captions with a token for each layer: P+ by the mean
loss (Textual Inversion's step with the text of L layers), ADI by three gradients and two masks.
They are timed in turns and the medians compared. Target: at most 1.35 times.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from rate import share, step_flops

from actionbench.diffusion.backbone import Backbone
from actionbench.diffusion.token_learning import Batch, ExemplarBatches, GradientRule, learn_tokens
from actionbench.files.models import ModelTraits, resolve_model
from actionbench.progress import SILENT
from actionbench.runs.profiles import configure
from actionbench.suite.suite import get_suite
from methods.adi import ADI, TRIPLE, Triples
from methods.p_plus import PPlus

TARGET = 1.35
ROUNDS = 5


def settings_of(method: Any, backbone: Backbone, *words: str) -> Any:
    return configure(method, ModelTraits(backbone.preset), "tuned", words=words).settings


def main() -> None:
    suite = get_suite("puppets")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=suite.model)
    parser.add_argument("--steps", type=int, default=40, help="steps of each timing")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()

    source = resolve_model(options.model)
    backbone = Backbone.load(source, device=options.device)
    backbone.sampling = suite.sampling
    task = next(iter(suite.tasks.values()))
    started = time.perf_counter()
    adi = ADI(settings_of(ADI, backbone))
    triples = Triples(backbone, task, adi.settings, 0, SILENT)
    pool = time.perf_counter() - started

    same_work = ("prompts=caption", f"batch_size={TRIPLE * adi.settings.batch_size}")
    by_caption = settings_of(PPlus, backbone, *same_work)
    by_template = replace(by_caption, prompts="template")

    def step_time(
        settings: Any, draw: Callable[[torch.Generator], Batch], rule: GradientRule | None = None
    ) -> float:
        start = PPlus(settings).start(backbone, len(backbone.layers))
        settings = replace(settings, steps=options.steps)
        began = time.perf_counter()
        learn_tokens(backbone, settings, start, draw, seed=0, progress=SILENT, rule=rule)
        return (time.perf_counter() - began) / int(options.steps)

    rows: dict[str, Callable[[], float]] = {
        "three captions, mean loss": lambda: step_time(
            by_caption, ExemplarBatches(backbone, task, by_caption).draw
        ),
        "one template, mean loss": lambda: step_time(
            by_template, ExemplarBatches(backbone, task, by_template).draw
        ),
        "ADI": lambda: step_time(adi.settings, triples.draw, adi.rule),
    }
    times: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(ROUNDS):
        for name, timed in rows.items():
            times[name].append(timed())
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(f"{options.model}: {len(backbone.layers)} layers, {torch.get_num_threads()} threads")
    layers = len(backbone.layers)
    flops = dict(
        zip(
            medians,
            (
                step_flops(method, source.path, layers)
                for method in (PPlus(by_caption), PPlus(by_template), adi)
            ),
            strict=True,
        )
    )
    for name, seconds in medians.items():
        rate = share(flops[name], seconds, options.device)
        print(f"{name:28} {1000 * seconds:7.1f} ms a step, {rate} in a matrix product")
    ratio = medians["ADI"] / medians["three captions, mean loss"]
    print(f"ADI / three captions         {ratio:7.2f}    (target: at most {TARGET})")
    print(f"ADI's pool                   {pool:7.1f} s  ({adi.settings.pool})")
    fit = pool + adi.settings.steps * medians["ADI"]
    print(f"ADI's fit                    {fit:7.1f} s  ({adi.settings.steps} steps)")


if __name__ == "__main__":
    main()
