"""Measure what each method costs: a step, what comes before the first one, drawing, and memory.

    python benchmarks/costs.py [--method NAME ...] [--steps 20] [--images 64] [--device cpu]

Every method runs in a process of its own, so that its peak memory can be measured. A step is the
difference between a fit of 2 N steps and one of N steps, divided by N, after a first fit has made
what all fits of a run share (class images, pool). What comes before the first step is the first fit
minus its steps. The preset of the model applies. Memory is the process's (resident set), or on a
GPU what torch took there.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import subprocess
import sys
import time
from typing import Any

from actionbench.registry import method_names
from actionbench.suite.suite import get_suite


def measure(
    name: str, model: str, device: str, profile: str, steps: int, count: int
) -> dict[str, Any]:
    """Measure one method in this process: seconds, images per second, MiB."""
    import torch
    from rate import share, step_flops

    from actionbench.diffusion.backbone import Backbone
    from actionbench.files.models import model_traits, resolve_model
    from actionbench.progress import SILENT
    from actionbench.registry import get_method
    from actionbench.runs.profiles import configure, is_defined
    from actionbench.runs.provenance import peak_memory_mib
    from actionbench.suite.items import make_items

    suite = get_suite("puppets")
    source = resolve_model(model)
    backbone = Backbone.load(source, device=device)
    backbone.sampling = suite.sampling
    task = next(iter(suite.tasks.values()))
    kind = get_method(name)
    traits = model_traits(source.preset, source.path)

    learns = "steps" in {field.name for field in dataclasses.fields(kind.Settings)}

    def fit(length: int) -> tuple[Any, float]:
        words = [f"steps={length}"] if learns else []
        # The newest rows were not searched: they have the published figures.
        chosen = profile if is_defined(kind, traits, profile) else "published"
        method = configure(kind, traits, chosen, words=words)
        began = time.perf_counter()
        made = method.fit(backbone, task, seed=0, progress=SILENT)
        return (method, made), time.perf_counter() - began

    facts: dict[str, Any] = {}
    if learns:
        _, first = fit(steps)
        _, once = fit(steps)
        (method, made), twice = fit(2 * steps)
        facts["step_ms"] = 1000 * (twice - once) / steps
        facts["before_s"] = max(0.0, first - (twice - once))
        flops = step_flops(method, source.path, len(backbone.layers))
        facts["rate"] = share(flops, facts["step_ms"] / 1000, device)
    else:
        (method, made), _ = fit(1)
    items = make_items([task.action], suite.subjects, -(-count // len(suite.subjects)), 0)[:count]
    list(method.generate(backbone, made, items[:8]))
    began = time.perf_counter()
    list(method.generate(backbone, made, items))
    facts["images_a_second"] = count / (time.perf_counter() - began)
    on_gpu = device == "cuda"
    facts["peak_mib"] = torch.cuda.max_memory_allocated() / 2**20 if on_gpu else peak_memory_mib()
    return facts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--method", action="append", choices=method_names())
    parser.add_argument("--model", default=get_suite("puppets").model)
    parser.add_argument("--profile", default="tuned", choices=("published", "tuned"))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    names = options.method or method_names()
    if options.one:
        facts = measure(
            *(names[0], options.model, options.device),
            *(options.profile, options.steps, options.images),
        )
        print(json.dumps(facts))
        return
    print(f"{platform.machine()}, {os.cpu_count()} cores, {options.device}, {options.model}\n")
    print(
        "| method | step, ms | of a matrix product | before the first, s | images a second | "
        "peak, MiB |"
    )
    print("|---|---:|---:|---:|---:|---:|")
    failed = 0
    for name in names:
        command = [sys.executable, __file__, "--one", "--method", name, "--model", options.model]
        command += ["--steps", str(options.steps), "--images", str(options.images)]
        command += ["--device", options.device, "--profile", options.profile]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            print(f"| {name} | failed, see above | | | | |", flush=True)
            failed = 1
            continue
        facts = json.loads(done.stdout.splitlines()[-1])
        step, before = (
            f"{facts[key]:.1f}" if key in facts else "" for key in ("step_ms", "before_s")
        )
        speed, peak = facts["images_a_second"], facts["peak_mib"]
        rate = facts.get("rate", "")
        print(f"| {name} | {step} | {rate} | {before} | {speed:.1f} | {peak:.0f} |", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
