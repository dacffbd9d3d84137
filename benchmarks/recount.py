"""Count the claims of ADI's kept ablation again, with seeds as the units.

    python benchmarks/recount.py [leaderboards/ablation/adi/ablation.json]

The kept file has each seed's images over its four actions together, not by action. So a seed's
total accuracy is the datum: three a row, each paired with the same seed of the method as it is;
Student's interval with two degrees of freedom, Holm's correction over all rows. The last line says
what this can detect.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
from scipy.stats import t

from evaluation.measures.comparison import ALPHA, holm, p_text
from evaluation.measures.power import detectable

KEPT = Path(__file__).resolve().parents[1] / "leaderboards/ablation/adi/ablation.json"


def totals(variant: dict[str, object]) -> dict[int, float]:
    """Return each seed's total accuracy in points."""
    seeds: list[dict[str, dict[str, dict[str, float]]]] = variant["seeds"]  # type: ignore[assignment]
    return {int(s["seed"]): 100 * s["shares"]["total"]["share"] for s in seeds}  # type: ignore[call-overload]


def main() -> None:
    """Print a row a variant."""
    kept = json.loads(Path(sys.argv[1] if len(sys.argv) > 1 else KEPT).read_text("utf-8"))
    own = {v["method"]: totals(v) for v in kept["variants"] if v["own_settings"]}
    rows, errors = [], []
    for variant in kept["variants"]:
        if variant["own_settings"]:
            continue
        mine, theirs = totals(variant), own[variant["method"]]
        seeds = sorted(mine.keys() & theirs.keys())
        apart = np.array([mine[seed] - theirs[seed] for seed in seeds])
        error, free = apart.std(ddof=1) / math.sqrt(len(apart)), len(apart) - 1
        p = 2 * float(t.sf(abs(apart.mean()) / error, free))
        half = float(t.ppf(0.975, free)) * error
        name = f"{variant['group']}: {variant['variant']}"
        rows.append((name, apart, half, p, variant["minus_own"]["p_value"]))
        errors.append(error)
    corrected = holm([row[3] for row in rows])
    print(f"{'variant minus own, points':<38}{'95% interval':>20}  p      Holm   kept file's p")
    for (name, apart, half, p, kept_p), holms in zip(rows, corrected, strict=True):
        mean = apart.mean()
        interval = f"{mean:+.1f} [{mean - half:+.1f}, {mean + half:+.1f}]"
        alone = "stands alone, not in the family" if p < ALPHA else ""
        mark = "stands" if holms < ALPHA else alone
        columns = f"{p_text(p):<6} {p_text(holms):<6} {p_text(kept_p):<8}{mark}"
        print(f"{name:<38}{interval:>20}  {columns}")
    error = float(np.median(errors))
    alone, family = (detectable(error**2, 2, alpha) for alpha in (ALPHA, ALPHA / len(rows)))
    print(
        f"Three seeds detect {alone:.0f} points with 80% power (the median row), {family:.0f} in a "
        f"family of {len(rows)}."
    )


if __name__ == "__main__":
    main()
