"""Workers of a Ray cluster: the same bits, and what is lost if one dies."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from actionbench.errors import UserError
from actionbench.runs.execute import execute
from actionbench.runs.workers.on_ray import RayWorkers, start_ray
from actionbench.runs.workers.serve import RayWorker
from actionbench.runs.workers.session import Session, Unfit
from actionbench.runs.workers.unit import Lost
from tests.helpers.small_run import small_plan
from tests.runs.test_workers import Killer, Slow, contents, run


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'actionbench[ray]'")
    ray, _ = start_ray("local", cores=2)
    yield ray
    ray.shutdown()


def test_two_ray_workers_give_the_same_bits_though_one_is_killed(
    cluster: Any, tiny_model: Path, tmp_path: Path
) -> None:
    execute(small_plan(tiny_model, tmp_path / "alone", Slow()))

    watch = Killer(times=1)
    workers = RayWorkers(cluster, 2, "cpu")
    assert len(workers.workers) == 2
    with workers:
        result = run(small_plan(tiny_model, tmp_path / "ray", Slow()), workers, watch).result()
    (note,) = watch.notes
    assert "'salute' on " in note and "died" in note and "it is tried once more" in note
    assert contents(tmp_path / "ray") == contents(tmp_path / "alone")
    assert result.record.complete and result.record.device == "cpu"


# Without Ray, or beside it


def test_an_address_where_nobody_answers_is_one_line() -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'actionbench[ray]'")
    with pytest.raises(UserError, match=r"--ray 127\.0\.0\.1:1: nobody answers there \("):
        start_ray("127.0.0.1:1", cores=1)
    with pytest.raises(UserError, match="--ray nonsense: write local, auto, or the head's"):
        start_ray("nonsense", cores=1)


def test_without_ray_the_option_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'actionbench\[ray\]'"):
        start_ray("local", cores=1)


def test_nothing_of_ray_is_imported_without_the_option() -> None:
    code = (
        "import actionbench.runs.campaign, actionbench.runs.workers.serve, sys; print(*sys.modules)"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert not re.search(r"\bray\b", loaded)


def test_a_worker_with_other_versions_or_another_model_refuses(
    tiny_model: Path, tmp_path: Path
) -> None:
    import pickle
    from dataclasses import replace

    from actionbench.runs.execute import Execution
    from actionbench.runs.provenance import versions

    job = Execution(small_plan(tiny_model, tmp_path))
    job.begin()
    unit = job.draw_unit(())
    assert unit is not None
    other = RayWorker({**versions(), "torch": "1.0"})
    (refusal,) = map(pickle.loads, other.perform(pickle.dumps(unit)))
    assert isinstance(refusal, Lost) and not refusal.dead
    assert re.fullmatch(r"has torch \S+ instead of 1\.0", refusal.reason)

    session = Session(both=False, elsewhere=True)
    wrong = replace(unit, source=replace(unit.source, fingerprint="0" * 16))
    with pytest.raises(Unfit, match=r"has other weights as .*: \w+, not 0000"):
        next(session.perform(wrong, lambda _: None))
    gone = replace(unit, source=replace(unit.source, path=tmp_path / "gone", name="no-such-model"))
    with pytest.raises(Unfit, match="lacks the base model: "):
        next(session.perform(gone, lambda _: None))
