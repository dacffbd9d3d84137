"""The page itself: what it holds when it is served, and when it is mailed."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actionbench.files.hashing import make_key
from actionbench.suite.items import slug
from evaluation.page.document import render
from evaluation.people.labels import COLUMNS, LabelItem, pixels_hash
from evaluation.people.questions import ACTION, INSTRUCTIONS, QUESTIONS, SUBJECT
from evaluation.people.study import png

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evaluation.people.study import Study

HERE = Path(__file__).parent
EXEMPLAR_SIDE = 192
"""Pixels of an exemplar on the page at most."""


def _page(study: Study, rater: str, setup: dict[str, Any], *, served: bool) -> str:
    return render(
        "label.html",
        folder=HERE,
        content={
            "title": f"Labels for {study.suite.title}",
            "study": study.suite.title,
            "rater": rater,
            "instructions": INSTRUCTIONS,
            "questions": {"action": ACTION, "subject": SUBJECT},
        },
        styles=["label.css"],
        scripts=["label.js"],
        data={"setup": setup},
        images="beside" if served else "inside",
        served=served,
    )


def served_page(study: Study, rater: str) -> str:
    """Return the page that asks the server what to show."""
    return _page(study, rater, {"mode": "server"}, served=True)


def mailed_page(study: Study, rater: str, items: Sequence[LabelItem]) -> str:
    """Return the page of one file, with the pictures of `items` in it.

    Right answers are only in it for the training round, which shows them.
    """
    names = sorted({item.action for item in items})
    setup = {
        "mode": "file",
        "key": make_key([item.sha for item in items], rater),
        "file": f"labels-{slug(rater) or 'rater'}.csv",
        "rater": rater,
        "questions": QUESTIONS,
        "columns": list(COLUMNS),
        "actions": {
            name: {
                "description": study.actions[name].description,
                "exemplars": [_address(jpeg, "jpeg") for _, jpeg in exemplars(study, name)],
            }
            for name in names
        },
        "items": [
            {
                "id": item.id,
                "kind": "training" if item.kind == "training" else "image",
                "sha": item.sha,
                "action": item.action,
                "subject": study.subjects[item.subject].phrase,
                "picture": _address(png(study.picture(item)), "png"),
                **({"truth": truth(item)} if item.kind == "training" else {}),
            }
            for item in items
        ],
    }
    return _page(study, rater, setup, served=False)


def exemplars(study: Study, action: str) -> list[tuple[str, bytes]]:
    """Return an action's exemplars, made small, as JPEG; each with the hash of its own pixels."""
    pictures = []
    for exemplar in study.suite.tasks[action].exemplars:
        small = exemplar.image.convert("RGB")
        small.thumbnail((EXEMPLAR_SIDE, EXEMPLAR_SIDE))
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=90)
        pictures.append((pixels_hash(exemplar.image), buffer.getvalue()))
    return pictures


def truth(item: LabelItem) -> dict[str, bool | None]:
    """Return the known answers of gold and training."""
    return {"action": item.action_truth, "subject": item.subject_truth}


def _address(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64," + base64.b64encode(content).decode()
