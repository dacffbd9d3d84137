"""The command line with the small suite of `tests.helpers.small_run` in place of the puppets.

`python -m tests.helpers.small_cli FOLDER WORDS...`; FOLDER holds the suite's exemplars and, in
`plugins`, the package metadata that registers the small method and judge.
"""

from __future__ import annotations

import sys
from pathlib import Path

import actionbench.suite.suite
import cli
from tests.helpers.small_run import small_suite

METADATA = "Metadata-Version: 2.1\nName: actionbench-small\nVersion: 1\n"
ENTRY_POINTS = """\
[actionbench.methods]
drift = tests.helpers.small_run:Drift
faulty = tests.helpers.small_run:Faulty
plain = tests.helpers.small_run:Plain
unseeded = tests.helpers.small_run:Unseeded
broken = tests.no_such_module:Method
no-method = tests.helpers.small_run:DriftSettings
[actionbench.judges]
brightness = tests.helpers.small_run:Brightness
"""


def install_plugins(folder: Path) -> None:
    """Write what pip installs for a package that registers methods and judges."""
    metadata = folder / "actionbench_small-1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(METADATA)
    (metadata / "entry_points.txt").write_text(ENTRY_POINTS)


def main() -> None:
    folder = Path(sys.argv.pop(1))
    sys.path.insert(0, str(folder / "plugins"))
    suite = small_suite(folder)
    actionbench.suite.suite.suites = lambda: {suite.name: suite}  # type: ignore[assignment]
    cli.main()


if __name__ == "__main__":
    main()
