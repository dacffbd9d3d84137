"""The search by which the preset `puppet-diffusion` was chosen: on the development actions only.

    python benchmarks/choose_settings.py [--runs .work/choice] [--methods adi,p-plus]

Every method gets the same few tries, a grid over its learning rate. Finished tries are
read from the runs folder. Prints one row a try; which to take is the highest total accuracy.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from actionbench.models import resolve_model
from actionbench.registry import get_judge, get_method
from actionbench.runner import execute, plan_run
from actionbench.settings import build_settings
from actionbench.suites import get_suite

SUITE = "puppets-dev"
TRIES: dict[str, tuple[tuple[str, ...], ...]] = {
    method: tuple((f"learning_rate={rate}",) for rate in ("5e-3", "1e-2", "2e-2"))
    for method in ("textual-inversion", "p-plus", "adi")
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=Path(".work/choice"))
    parser.add_argument("--methods", default=",".join(TRIES))
    parser.add_argument("--images-per-pair", type=int, default=1)
    given = parser.parse_args()
    suite = get_suite(SUITE)
    source = resolve_model(suite.model)
    print(f"{'method':18} {'settings':44} {'action':>7} {'subject':>7} {'total':>7} {'n':>4}")
    for name in given.methods.split(","):
        for words in TRIES[name]:
            kind = get_method(name)
            preset = kind.presets.get(source.preset or "", {})
            plan = plan_run(
                runs=given.runs,
                suite=suite,
                method=kind(build_settings(kind.Settings, preset, words)),
                source=source,
                judge=get_judge(suite.judge)(suite),
                images_per_pair=given.images_per_pair,
                device="cpu",
            )
            rows = execute(plan).rows
            n = sum(row.n for row in rows)
            right = [
                100 * sum(getattr(row, f"{kind_}_correct") for row in rows) / n
                for kind_ in ("action", "subject", "total")
            ]
            figures = " ".join(f"{value:7.1f}" for value in right)
            print(f"{name:18} {' '.join(words):44} {figures} {n:4}", flush=True)


if __name__ == "__main__":
    main()
