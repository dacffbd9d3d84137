"""A Hub on this machine that refuses whatever it is asked, for the client's real exceptions."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest


class Refusing(BaseHTTPRequestHandler):
    """Answers everything with one status and code."""

    status, code = 404, "RepoNotFound"

    def answer(self) -> None:
        self.send_response(self.status)
        self.send_header("X-Error-Code", self.code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD = do_POST = answer

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def refusing_hub(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[type[Refusing]]:
    """Let huggingface_hub ask this Hub, with a cache in the folder and without a token."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name, value in {
        "ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HUB_CACHE": str(folder / "hub"),
        "HF_HUB_OFFLINE": False,
    }.items():
        monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    yield Refusing
    server.shutdown()
