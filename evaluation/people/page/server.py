"""The server of the labelling page, by the standard library: a link with a token for each rater."""

from __future__ import annotations

import errno
import ipaddress
import json
import secrets
import threading
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from actionbench.errors import UserError
from evaluation.people.labels import LabelItem
from evaluation.people.page.document import exemplars, served_page, truth
from evaluation.people.study import png
from evaluation.people.verdicts import excluded_sessions

if TYPE_CHECKING:
    from evaluation.people.study import Study

LOOPBACK = "127.0.0.1"
PORT = 8765
_LARGEST = 1 << 16
"""Bytes of a request's body at most."""
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}


class LabelServer(ThreadingHTTPServer):
    """Serves a study to raters, each under a path that only who has the token knows.

    Args:
        port: 0 takes any that is free.

    Raises:
        UserError: if the port is taken or the host is none of this machine's.
    """

    daemon_threads = True

    def __init__(
        self, study: Study, raters: Sequence[str], host: str = LOOPBACK, port: int = PORT
    ) -> None:
        self.study = study
        self.tokens = {secrets.token_urlsafe(24): rater for rater in raters}
        self.host = host
        self.passed: dict[int, str] = dict(study.damaged())
        """Items that are not asked about, and why."""
        self.choosing = threading.Lock()
        self._exemplars: dict[str, list[tuple[str, bytes]]] = {}
        self._excluded: tuple[tuple[int, int], list[int]] | None = None
        try:
            super().__init__((host, port), _Handler)
        except OverflowError as error:
            raise UserError(f"there is no port {port}: name one up to 65535") from error
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise UserError(
                    f"port {port} of {host} is taken: name another with --port, or 0 for any"
                ) from error
            raise UserError(
                f"{host} port {port} cannot be served from ({error}): name others"
            ) from error

    def exemplars(self, item: LabelItem) -> list[bytes]:
        """Return the exemplars that stand beside an item, as JPEG: all but itself."""
        if item.action not in self._exemplars:
            self._exemplars[item.action] = exemplars(self.study, item.action)
        return [jpeg for sha, jpeg in self._exemplars[item.action] if sha != item.sha]

    def excluded(self) -> list[int]:
        """Return the sessions that do not count; computed anew when gold was answered."""
        gold = self.study.labels.gold_answers()
        if self._excluded is None or self._excluded[0] != gold:
            self._excluded = gold, excluded_sessions(self.study.labels)
        return self._excluded[1]

    def links(self) -> dict[str, str]:
        """Return each rater's link."""
        port = self.server_address[1]
        return {
            rater: f"http://{self.host}:{port}/{token}/" for token, rater in self.tokens.items()
        }

    def rater(self, token: str) -> str | None:
        """Return whose token it is; None if it is nobody's."""
        found = None
        for known, rater in self.tokens.items():
            if secrets.compare_digest(known.encode(), token.encode("utf-8", "replace")):
                found = rater
        return found


def is_loopback(host: str) -> bool:
    """Check whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Handler(BaseHTTPRequestHandler):
    server: LabelServer
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        self._reply(self._get)

    def do_POST(self) -> None:
        self._reply(self._post)

    def _reply(self, work: Any) -> None:
        """Answer, or say what is wrong as JSON: 403 no token, 409 refused, 507 not saved."""
        token, slash, path = self.path.partition("?")[0].lstrip("/").partition("/")
        rater = self.server.rater(token)
        if rater is None:
            # A body that is not read would be taken for the next request.
            self.close_connection = True
            self._say(HTTPStatus.FORBIDDEN, "this link is not valid: use the one that "
                      "`actionbench annotate` printed when it was last started")  # fmt: skip
            return
        if not slash:
            self._send(HTTPStatus.FOUND, b"", "text/plain", {"Location": f"/{token}/"})
            return
        try:
            work(rater, path)
        except _Refused as refused:
            self._say(HTTPStatus.CONFLICT, str(refused))
        except UserError as error:
            self._say(HTTPStatus.INSUFFICIENT_STORAGE, str(error))

    def _get(self, rater: str, path: str) -> None:
        study = self.server.study
        first, _, rest = path.partition("/")
        if path == "":
            page = served_page(study, rater).encode("utf-8", "replace")
            self._send(HTTPStatus.OK, page, "text/html; charset=utf-8")
        elif path == "next":
            self._json(self._state(rater))
        elif first == "picture" and rest.isdecimal():
            picture = png(study.picture(study.labels.item(int(rest))))
            self._send(HTTPStatus.OK, picture, "image/png")
        elif first == "exemplar" and rest.replace("/", "", 1).isdecimal() and "/" in rest:
            number, _, place = rest.partition("/")
            pictures = self.server.exemplars(study.labels.item(int(number)))
            if int(place) < len(pictures):
                self._send(HTTPStatus.OK, pictures[int(place)], "image/jpeg")
            else:
                self._say(HTTPStatus.NOT_FOUND, "there is no such exemplar")
        else:
            self._say(HTTPStatus.NOT_FOUND, f"there is no {path}")

    def _post(self, rater: str, path: str) -> None:
        values = self._body()
        labels = self.server.study.labels
        if path == "undo":
            taken = labels.undo(rater)
            # What was taken back is asked again, whatever else is open.
            again = None if taken is None else labels.item(taken.item)
            self._json(self._state(rater, again))
        elif path == "answer":
            number = values.get("item")
            texts = [values.get(name) for name in ("action", "subject", "sha", "comment")]
            seconds = values.get("seconds")
            if (
                not isinstance(number, int)
                or not all(isinstance(text, str) for text in texts)
                or not isinstance(seconds, int | float)
            ):
                raise _Refused("the answer lacks a part: load the page again")
            item = self._known(number)
            action, subject, sha, comment = map(str, texts)
            if item.sha != sha or not self._unchanged(item):
                raise _Refused("this picture has changed: the next one is shown instead")
            try:
                labels.answer(rater, number, action=action, subject=subject, sha=sha,
                              seconds=float(seconds), comment=comment)  # fmt: skip
            except UserError as error:
                if error.__cause__ is not None:  # the file's fault, which may pass
                    raise
                raise _Refused(str(error)) from error
            told = {"truth": truth(item)} if item.kind == "training" else {}
            self._json({**self._state(rater), **told})
        else:
            self._say(HTTPStatus.NOT_FOUND, f"there is no {path}")

    def _known(self, number: int) -> LabelItem:
        try:
            return self.server.study.labels.item(number)
        except UserError as error:
            raise _Refused(str(error)) from error

    def _state(self, rater: str, item: LabelItem | None = None) -> dict[str, Any]:
        """What the page shows next, and how far the rater is."""
        server, study = self.server, self.server.study
        with server.choosing:
            out = server.excluded()
            while item is None or not self._unchanged(item):
                item = study.next_item(rater, excluded=out, passed=server.passed)
                if item is None:
                    break
            done, total = study.progress(rater, passed=server.passed)
        return {"item": item and self._item(item), "done": done, "total": total}

    def _unchanged(self, item: LabelItem) -> bool:
        """Check that an item's picture is as it was; one that is not is not asked about."""
        try:
            self.server.study.picture(item)
        except UserError as error:
            self.server.passed[item.id] = str(error)
        return item.id not in self.server.passed

    def _item(self, item: LabelItem) -> dict[str, Any]:
        """An item as the page may know it: blind to its row, and to which are gold."""
        study = self.server.study
        action = study.actions[item.action]
        count = len(self.server.exemplars(item))
        return {
            "id": item.id,
            "kind": "training" if item.kind == "training" else "image",
            "sha": item.sha,
            "picture": f"picture/{item.id}",
            "action": {
                "description": action.description,
                "exemplars": [f"exemplar/{item.id}/{number}" for number in range(count)],
            },
            "subject": study.subjects[item.subject].phrase,
        }

    def _body(self) -> Mapping[str, Any]:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > _LARGEST:
            self.close_connection = True
            raise _Refused("the answer is too long")
        try:
            values = json.loads(self.rfile.read(int(length)))
        except ValueError as error:
            raise _Refused("the answer cannot be read: load the page again") from error
        if not isinstance(values, dict):
            raise _Refused("the answer cannot be read: load the page again")
        return values

    def _json(self, values: Mapping[str, Any], status: HTTPStatus = HTTPStatus.OK) -> None:
        self._send(status, json.dumps(values).encode(), "application/json")

    def _say(self, status: HTTPStatus, text: str) -> None:
        self._json({"error": text}, status)

    def _send(
        self, status: HTTPStatus, body: bytes, kind: str, more: Mapping[str, str] = {}
    ) -> None:
        self.send_response(status)
        for name, value in {**_HEADERS, **more, "Content-Type": kind}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing: the terminal has the links, and a log would hold tokens."""


class _Refused(Exception):
    """An answer that cannot be taken, however often it is sent."""
