"""Measure fits in lockstep: milliseconds a sample alone and in groups, and the share of the peak.

    python benchmarks/lockstep.py [--methods adi,p-plus,textual-inversion] [--at-once 1,2,4,8]
                                  [--model PATH_OR_ID] [--steps 10] [--rounds 3] [--device cpu]
    python benchmarks/lockstep.py --sd21 --device cuda --dtype bfloat16 [--tiny]

Each way is timed in turns: N steps and 2 N steps, whose difference is the time of N steps; on a CPU
in seconds that this process computed. With `--sd21` the networks are those of `sd21.py`: Stable
Diffusion 2.1-base at its real size with random weights, which change neither time nor memory, or
with `--tiny` of toy widths, which shows on a CPU that it runs. ADI's pool is left out: it is drawn
once for each action, one after the other. The last column is the method's own number of steps for
eight actions.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
from pathlib import Path
from typing import Any

import sd21
import torch
from rate import fit_together, share, step_flops, step_seconds

from actionbench.diffusion.backbone import DTYPES, Backbone
from actionbench.files.models import ModelTraits, model_traits, resolve_model
from actionbench.plugins.tiny import tiny_task
from actionbench.registry import get_method
from actionbench.runs.profiles import configure
from actionbench.suite.items import paper_actions
from actionbench.suite.suite import get_suite

POOL = ("pool=joint", "pool_steps=1", "pool_actions=stands", "pool_sampling_steps=1")
"""ADI's pool made small: it is not measured."""
ACTIONS = 8


def load(options: argparse.Namespace, folder: Path) -> tuple[Any, ModelTraits, Path, list[Any]]:
    """Load the base model: it, its traits, the folder of its configs, and eight actions."""
    if not options.sd21:
        source = resolve_model(options.model)
        backbone = Backbone.load(source, options.device, options.dtype)
        tasks = list(get_suite("puppets").tasks.values())
        return backbone, model_traits(source.preset, source.path), source.path, tasks
    from actionbench.device import PLAIN

    for part, config in sd21.configs(options.size, options.tiny).items():
        (folder / part).mkdir()
        (folder / part / "config.json").write_text(json.dumps(config))
    backbone = sd21.make_backbone(options.size, options.tiny, options.device, options.dtype, PLAIN)
    tasks = [tiny_task(action.name, exemplars=2) for action in paper_actions()]
    return backbone, ModelTraits(sd21.PRESET), folder, tasks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", default="adi,p-plus,textual-inversion")
    parser.add_argument("--at-once", default="1,2,4,8")
    parser.add_argument("--model", default=get_suite("puppets").model)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--dtype", default="float32", choices=list(DTYPES))
    parser.add_argument("--sd21", action="store_true", help="Stable Diffusion 2.1-base's size")
    parser.add_argument("--tiny", action="store_true", help="with --sd21: toy widths")
    parser.add_argument("--size", type=int, default=512, help="with --sd21: side of the images")
    options = parser.parse_args()
    groups = [int(word) for word in options.at_once.split(",")]
    with tempfile.TemporaryDirectory() as made:
        backbone, traits, folder, tasks = load(options, Path(made))
        print(
            f"{platform.machine()}, {os.cpu_count()} cores, {options.device}, {options.dtype}, "
            f"{torch.get_num_threads()} threads, {backbone.name}\n"
        )
        print(
            "| method | fits at once | ms a sample | times as fast | of a matrix product | "
            "peak GPU MiB | eight actions, minutes |"
        )
        print("|---|---:|---:|---:|---:|---:|---:|")
        for name in options.methods.split(","):
            measure(name, backbone, traits, folder, tasks, groups, options)


def measure(
    name: str,
    backbone: Backbone,
    traits: ModelTraits,
    folder: Path,
    tasks: list[Any],
    groups: list[int],
    options: argparse.Namespace,
) -> None:
    """Print the rows of one method."""
    pool = POOL if name == "adi" else ()
    steps = configure(get_method(name), traits).settings.steps

    def fit(count: int, together: int) -> None:
        method = configure(get_method(name), traits, words=(f"steps={count}", *pool))
        fit_together(method, backbone, tasks, together)

    peaks: dict[int, int] = {}
    for together in groups:  # draws the pools and warms up
        if options.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        fit(2, together)
        if options.device == "cuda":
            peaks[together] = torch.cuda.max_memory_allocated() // 2**20
    rounds = [
        {
            together: step_seconds(
                lambda count, together=together: fit(count, together),  # type: ignore[misc]
                options.steps,
                options.device,
            )
            / together
            for together in groups
        }
        for _ in range(options.rounds)
    ]
    method = configure(get_method(name), traits)
    work = method.fit_work(10, len(backbone.layers))
    assert work is not None, f"{name} does not say what a fit costs"
    flops = step_flops(method, folder, len(backbone.layers))
    for together in groups:
        step = statistics.median(took[together] for took in rounds)
        ratio = statistics.median(took[groups[0]] / took[together] for took in rounds)
        print(
            f"| {name} | {together} | {1000 * step / work.batch:.1f} | {ratio:.2f} | "
            f"{share(flops, step, options.device, backbone.dtype)} | {peaks.get(together, '')} | "
            f"{ACTIONS * steps * step / 60:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
