"""Measure how tightly descriptions are bound: text alone, development actions, guidance scales.

    python benchmarks/calibrate_binding.py [--model PATH] [--n 184] [--scales 2,4,6]

For each guidance scale, it prints how often the description alone gives the action and the subject,
and how often known subjects in known poses come out right, by the puppet judge. The suite's
sampling (`actionbench/suite/suite.py`) and the recipe's `exact_share` were chosen with it: text
alone between 20% and 50%, subjects at 80% or more. The eight benchmark actions are not drawn here.
"""

from __future__ import annotations

import argparse

import numpy as np

from actionbench.diffusion.backbone import Backbone
from actionbench.files.models import resolve_model
from actionbench.suite.items import Sampling
from actionbench.suite.shipped import JUDGE
from actionbench.suite.suite import get_suite
from evaluation.judges.gates import known_poses, text_alone
from evaluation.judges.puppet import Reader


def main() -> None:
    suite = get_suite("puppets-dev")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=suite.model)
    parser.add_argument("--n", type=int, default=184)
    parser.add_argument("--scales", default="2,4,6")
    options = parser.parse_args()
    backbone = Backbone.load(resolve_model(options.model))
    reader = Reader.load(JUDGE, "cpu")
    print("guidance   text alone: action subject   known: pose subject   (%)")
    for scale in map(float, options.scales.split(",")):
        backbone.sampling = Sampling(suite.sampling.steps, scale)
        right, same = text_alone(reader, backbone, suite.actions, suite.subjects, options.n)
        pose, who = known_poses(reader, backbone, options.n)
        shares = [100 * np.mean(x) for x in (right, same, pose.hits, who.hits)]
        print(f"{scale:8g} {shares[0]:19.1f} {shares[1]:7.1f} {shares[2]:13.1f} {shares[3]:7.1f}")


if __name__ == "__main__":
    main()
