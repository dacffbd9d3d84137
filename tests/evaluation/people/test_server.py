"""The labelling page's server over real HTTP, and the page in headless Chromium."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image

from actionbench.errors import UserError
from actionbench.runs.store import Store
from evaluation.people.labels import Labels
from evaluation.people.page.document import mailed_page
from evaluation.people.page.server import LabelServer, is_loopback
from evaluation.people.study import Study, StudyOptions, begin_study
from tests.helpers.browser import open_browser
from tests.helpers.labelled import drawn_runs

HOSTILE = "<img src=x onerror=\"document.title='owned'\"></script><script>owned()</script>&amp;"


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    ids = drawn_runs(folder / "runs")
    begin_study(Store(folder / "runs"), ids, folder / "runs" / "labels.sqlite", StudyOptions(40))
    return folder


@pytest.fixture
def study(planned: Path, tmp_path: Path) -> Study:
    shutil.copytree(planned / "runs", tmp_path / "runs")
    return Study(Labels(tmp_path / "runs" / "labels.sqlite"), Store(tmp_path / "runs"))


@contextmanager
def serving(study: Study, *raters: str, port: int = 0) -> Iterator[LabelServer]:
    with LabelServer(study, raters or ["ann"], port=port) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class Client:
    """Asks a server as a browser would, under a rater's link."""

    def __init__(self, link: str) -> None:
        self.where = urlsplit(link)

    def ask(self, path: str, body: Any = None, length: str = "") -> tuple[int, bytes, str]:
        connection = http.client.HTTPConnection(str(self.where.netloc), timeout=20)
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Length": length} if length else {}
        connection.request("GET" if data is None else "POST", self.where.path + path, data, headers)
        reply = connection.getresponse()
        content = reply.status, reply.read(), reply.headers.get("Content-Type", "")
        connection.close()
        return content

    def json(self, path: str, body: Any = None) -> tuple[int, Any]:
        status, content, _ = self.ask(path, body)
        return status, json.loads(content)


def answer(item: dict[str, Any], action: str = "yes", subject: str = "no") -> dict[str, Any]:
    return {"item": item["id"], "sha": item["sha"], "action": action, "subject": subject,
            "comment": "", "seconds": 1.5}  # fmt: skip


def test_only_a_token_opens_the_page(study: Study) -> None:
    with serving(study, "ann", "ben") as server:
        links = server.links()
        assert len(set(links.values())) == 2
        client = Client(links["ann"])
        status, page, kind = client.ask("")
        assert status == 200 and kind.startswith("text/html") and b"What to do" in page
        port = server.server_address[1]
        for path in ("/", "/next", "/x/", f"/{'a' * 32}/next", "/%C3%A4/next"):
            assert Client(f"http://127.0.0.1:{port}{path}").ask("")[0] == 403
        wrong = Client(f"http://127.0.0.1:{port}/wrong/")
        assert wrong.json("answer", {"item": 1})[0] == 403
    assert study.labels.labels() == []


def test_the_page_knows_neither_rows_nor_gold(study: Study) -> None:
    with serving(study) as server:
        client = Client(server.links()["ann"])
        _, state = client.json("next")
        assert state["item"]["kind"] == "training"
        said = json.dumps(state)
        page = client.ask("")[1].decode()
        while state["item"]:
            assert set(state["item"]) == {"id", "kind", "sha", "picture", "action", "subject"}
            said += json.dumps({k: v for k, v in state.items() if k != "truth"})
            assert ("truth" in state) == (len(study.labels.labels()) in range(1, 7))
            _, state = client.json("answer", answer(state["item"]))
        assert state["done"] == state["total"] == 44
        for secret in ("adi", "gold", "drawn"):
            assert secret not in said
        assert study.labels.meta()["runs"][0] not in page
        status, picture, kind = client.ask("picture/1")
        assert (status, kind) == (200, "image/png") and b"actionbench" not in picture
        assert client.ask("exemplar/1/0")[2] == "image/jpeg"
        assert client.ask("exemplar/1/99")[0] == client.ask("no/such")[0] == 404


def test_what_is_refused_changes_nothing(study: Study) -> None:
    with serving(study) as server:
        client = Client(server.links()["ann"])
        item = client.json("next")[1]["item"]
        good = answer(item)
        for bad, message in (
            ({**good, "item": 4711}, "no item 4711"),
            ({**good, "item": "1; DROP TABLE labels"}, "lacks a part"),
            ({**good, "sha": "0"}, "has changed"),
            ({**good, "action": "<b>"}, "is no answer"),
            ({"item": 1}, "lacks a part"),
            ([], "cannot be read"),
        ):
            status, said = client.json("answer", bad)
            assert status == 409 and message in said["error"], bad
        assert client.ask("answer", good, length="99999999")[0] == 409
        assert study.labels.labels() == []
        assert client.json("answer", good)[0] == client.json("answer", good)[0] == 200
        status, said = client.json("answer", {**good, "action": "no"})
        assert status == 409 and "answered item" in said["error"]
        assert len(study.labels.labels()) == 1
        assert client.json("undo", {})[1]["item"]["id"] == item["id"]
        assert study.labels.labels() == []


def test_an_image_that_changes_in_the_middle_is_passed_over(study: Study) -> None:
    with serving(study) as server:
        client = Client(server.links()["ann"])
        state = client.json("next")[1]
        while state["item"]["kind"] == "training" or state["item"]["id"] > 40:
            state = client.json("answer", answer(state["item"]))[1]
        path = study.store.root / str(study.labels.item(state["item"]["id"]).image)
        Image.new("RGB", (32, 32), "red").save(path)
        status, said = client.json("answer", answer(state["item"]))
        assert status == 409 and "has changed" in said["error"]
        assert client.json("next")[1]["item"]["id"] != state["item"]["id"]
        assert "has changed since the study began" in server.passed[state["item"]["id"]]


def test_a_full_disk_is_507_and_the_same_answer_may_be_sent_again(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(study) as server:
        client = Client(server.links()["ann"])
        item = client.json("next")[1]["item"]
        fault = UserError("labels.sqlite cannot be written, the disk is full: free some space")
        fault.__cause__ = OSError()

        def full(*_: object, **__: object) -> None:
            raise fault

        monkeypatch.setattr(study.labels, "answer", full)
        assert client.json("answer", answer(item)) == (507, {"error": str(fault)})
        monkeypatch.undo()
        assert client.json("answer", answer(item))[0] == 200


def test_a_port_that_is_taken_is_named(study: Study) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} of 127.0.0.1 is taken.*--port"):
            LabelServer(study, ["ann"], port=port)
    with pytest.raises(UserError, match="no port 99999"):
        LabelServer(study, ["ann"], port=99999)
    assert is_loopback("127.0.0.1") and is_loopback("::1") and is_loopback("localhost")
    assert not is_loopback("0.0.0.0") and not is_loopback("example.org")


# In a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as opened:
        yield opened


class Rater:
    """Somebody at the keyboard."""

    def __init__(self, browser: Any, address: str, **window: Any) -> None:
        self.context = browser.new_context(**window)
        self.page = self.context.new_page()
        self.page.set_default_timeout(30_000)
        self.complaints: list[str] = []
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(address)

    @property
    def ready(self) -> str:
        self.page.wait_for_selector("html[data-ready]:not([data-busy])")
        return str(self.page.evaluate("document.documentElement.dataset.ready"))

    def press(self, key: str) -> None:
        self.page.keyboard.press(key)

    def begin(self) -> None:
        assert self.ready == "intro"
        self.press("Enter")
        self.page.wait_for_selector("#work:not([hidden])")

    def label(self, keys: str = "yn") -> str:
        """Answer the picture that is shown; return its item."""
        item = self.ready
        training = self.page.is_visible("#round")
        for key in keys:
            self.press(key)
        if training:
            self.page.wait_for_selector("#feedback:not([hidden])")
            self.press("Enter")
        self.page.wait_for_selector(f"html[data-ready]:not([data-ready='{item}'])")
        return item


def test_twenty_by_keyboard_with_undo_reload_and_two_windows(study: Study, browser: Any) -> None:
    study.subjects["old man"] = type(study.subjects["old man"])("old man", "human", HOSTILE)
    with serving(study, "ann", f"ben {HOSTILE[:40]}") as server:
        first, second = (Rater(browser, link) for link in server.links().values())
        first.begin()
        seen = [first.label("yn") for _ in range(12)]
        first.page.reload()  # in the middle: nothing is asked twice
        first.begin()
        second.begin()
        for _ in range(8):
            seen.append(first.label("nu"))
            second.label("yy")
        assert len(set(seen)) == 20
        first.press("z")
        first.page.wait_for_selector(f"html[data-ready='{seen[-1]}']")
        first.press("c")
        first.page.keyboard.type("odd: y n z")
        first.press("Escape")
        first.label("yy")
        labels = [label for label in study.labels.labels() if label.rater == "ann"]
        assert [str(label.item) for label in labels] == seen
        assert [(a.action, a.subject) for a in labels[:12]] == [("yes", "no")] * 12
        assert (labels[-1].action, labels[-1].comment) == ("yes", "odd: y n z")
        assert len(study.labels.labels()) == 28
        assert "14 of 44" in first.page.inner_text("#count")
        assert "min left" in first.page.inner_text("#left")
        assert first.complaints == second.complaints == []
        assert first.page.title() == second.page.title() == "Labels for Puppets: the eight actions"
        assert second.page.inner_text("#rater").startswith("ben <img src=x")
        first.context.close()
        second.context.close()


@contextmanager
def annotate(runs: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the command, and yield it with ann's link."""
    root = str(Path(__file__).resolve().parents[3])
    process = subprocess.Popen(
        [sys.executable, "-m", "cli", "annotate", "--rater", "ann", "--port", "0", *words,
         "--runs", str(runs)],
        stdout=subprocess.PIPE, text=True, cwd=runs, env={**os.environ, "PYTHONPATH": root},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        link = next(line for line in process.stdout if line.startswith("ann: "))
        yield process, link.split()[1]
    finally:
        process.kill()
        process.wait()


def test_a_server_that_is_killed_costs_no_answer(study: Study, browser: Any) -> None:
    with annotate(study.store.root) as (process, link):
        rater = Rater(browser, link)
        rater.begin()
        seen = [rater.label("yn") for _ in range(7)]
        process.send_signal(signal.SIGKILL)
        process.wait()
        rater.press("y")
        rater.press("n")
        rater.page.wait_for_selector("#trouble:not([hidden])")
        assert "does not answer" in rater.page.inner_text("#trouble")
    assert [str(label.item) for label in study.labels.labels()] == seen
    with annotate(study.store.root) as (process, link):
        rater.page.goto(link)
        rater.begin()
        seen += [rater.label("yn") for _ in range(3)]
    assert [str(label.item) for label in study.labels.labels()] == seen
    assert len(set(seen)) == 10
    rater.context.close()


def test_a_phone_s_width_and_a_mailed_page(study: Study, browser: Any, tmp_path: Path) -> None:
    """One file, opened from the disk: labels are kept over a reload, downloaded, and imported."""
    file = tmp_path / "labels.html"
    items = study.packet("cleo", 6)
    file.write_text(mailed_page(study, "cleo", items), "utf-8")
    rater = Rater(browser, file.as_uri(), viewport={"width": 360, "height": 740}, has_touch=True)
    rater.begin()
    assert rater.page.evaluate("document.documentElement.scrollWidth") <= 360
    rater.page.tap("[data-question=action] [data-answer=no]")
    rater.page.tap("[data-question=subject] [data-answer=unsure]")
    rater.page.tap("#continue")
    rater.page.reload()
    rater.begin()
    for _ in range(len(items) - 1):
        rater.label("yy")
    assert rater.ready == "end"
    with rater.page.expect_download() as download:
        rater.page.click("#save-end")
    text = Path(download.value.path()).read_text("utf-8")
    assert download.value.suggested_filename == "labels-cleo.csv"
    assert study.labels.import_csv(text, "labels-cleo.csv") == (len(items), 0)
    assert study.labels.import_csv(text, "labels-cleo.csv") == (0, len(items))
    first = study.labels.labels()[0]
    assert (first.rater, first.action, first.subject) == ("cleo", "no", "unsure")
    assert [label.item for label in study.labels.labels()] == [item.id for item in items]
    assert rater.complaints == []
    rater.context.close()
