"""How long `report` takes with its page at full size, and how soon a browser can use the page.

    python -m benchmarks.report_page                 # 8 x 368 images of 64 pixels, in one file
    python -m benchmarks.report_page --photographs   # of 768 pixels, in a folder beside it

The runs are those of the kept board; their images are drawn as the verdicts say. Photographs are
46 different ones of clouds and noise, each under 64 names, so that the disk holds them once.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from actionbench.runs.store import Store
from leaderboards.board import build_board
from leaderboards.page.plots import write_plots
from leaderboards.page.report import write_report
from tests.helpers.browser import open_browser
from tests.helpers.drawn_board import draw_board

SIDE, DIFFERENT = 768, 46


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--photographs", action="store_true")
    parser.add_argument("--work", type=Path, help="keep runs and page here")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        work = given.work or Path(place)
        store = Store(work / "runs")
        if not store.run_ids():
            with timed("drawing the images (not part of report)"):
                store = draw_board(work / "runs")
                if given.photographs:
                    photographs(store)
        with timed("board, copies counted"):
            build_board(store.root)
        with timed("board, copies known"):
            board = build_board(store.root)
        with timed("board's files and plots"):
            board.write(work / "out")
            write_plots(board, work / "out")
        with timed("page"):
            page = write_report(board, store.root, work / "out")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f"{page.name}: {page.stat().st_size / 1e6:.1f} MB; peak {peak} MiB")
        open_page(page)


def photographs(store: Store) -> None:
    """Put photographs in the place of the drawn images."""
    rng = np.random.default_rng(0)
    made = []
    for number in range(DIFFERENT):
        small = rng.integers(0, 255, (9, 12, 3), dtype=np.uint8)
        large = np.asarray(Image.fromarray(small).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
        noisy = np.clip(large + rng.normal(0, 6, large.shape), 0, 255).astype(np.uint8)
        path = store.root.parent / f"photograph-{number}.png"
        Image.fromarray(noisy).save(path)
        made.append(path)
    for number, path in enumerate(sorted((store.root / "images").rglob("*.png"))):
        path.unlink()
        os.link(made[number % DIFFERENT], path)


def open_page(page: Path) -> None:
    """Open the page from its file; it is interactive when its script has drawn the gallery."""
    with open_browser() as browser:
        for _ in range(2):
            context = browser.new_context()
            window = context.new_page()
            session = context.new_cdp_session(window)
            session.send("Performance.enable", {"timeDomain": "threadTicks"})
            started = time.monotonic()
            window.goto(page.resolve().as_uri())
            window.wait_for_selector("html[data-ready]")
            seconds = time.monotonic() - started
            metrics = session.send("Performance.getMetrics")["metrics"]
            work = {metric["name"]: metric["value"] for metric in metrics}["TaskDuration"]
            print(f"interactive after {seconds:.2f} s, of which {work:.2f} s processor time")
            context.close()


@contextmanager
def timed(what: str) -> Iterator[None]:
    clock, process = time.monotonic(), time.process_time()
    yield
    print(f"{what}: {time.monotonic() - clock:.1f} s, {time.process_time() - process:.1f} s of "
          "processor time", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
