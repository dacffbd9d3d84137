"""A study: begun from finished runs, then answered."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from actionbench.errors import UserError
from actionbench.progress import SILENT, Progress
from actionbench.runs.kept import find_suite, shown_suite
from actionbench.runs.store import read_image
from evaluation.people.gold import EVERY, MOST, TRAINING, Gold, gold_pictures
from evaluation.people.labels import CLAIM_SECONDS, Kind, LabelItem, Labels, pixels_hash
from evaluation.people.plan import OVERLAP, choose_images, default_budget

if TYPE_CHECKING:
    from PIL.Image import Image

    from actionbench.runs.record import RunRecord
    from actionbench.runs.store import Store
    from actionbench.suite.suite import Suite


@dataclass(frozen=True)
class StudyOptions:
    """How a study is planned."""

    budget: int | None = None
    """Images to label; None: as many as an afternoon or the rows need."""
    seed: int = 0
    overlap: float = OVERLAP
    gold: bool = True


def begin_study(
    store: Store,
    run_ids: Sequence[str],
    path: Path,
    options: StudyOptions = StudyOptions(),
    progress: Progress = SILENT,
) -> Labels:
    """Choose images of finished runs, and write the labels file that raters fill.

    Raises:
        UserError: for a run that is not finished, is of another suite than the first, has changed
            images, or gets too few images; and if the file exists.
    """
    records = [store.read_record(run_id) for run_id in run_ids]
    suite = _suite(store, records[0])
    for record in records:
        if not record.complete:
            raise UserError(f"run {record.id} is not finished: finish it, or leave it out")
        if record.suite_fingerprint != records[0].suite_fingerprint:
            raise UserError(
                f"run {record.id} is of another suite, or of another version of it, than "
                f"{records[0].id}, and a study asks about one: leave one of them out"
            )
    verdicts = {record.id: store.read_verdicts(record) for record in records}
    seen: dict[str, str] = {}
    for run_id, rows in verdicts.items():
        twice = [image for image in rows["image"] if image in seen]
        if twice:
            raise UserError(
                f"runs {seen[twice[0]]} and {run_id} are of the same images ({twice[0]}): name one "
                "of them; the labels serve both"
            )
        seen |= dict.fromkeys(rows["image"], run_id)
    budget = default_budget(len(records)) if options.budget is None else options.budget
    chosen = choose_images(verdicts, budget, seed=options.seed, overlap=options.overlap)
    items, sides = [], []
    for number, choice in enumerate(chosen):
        row = verdicts[choice.run].iloc[choice.position]
        picture = read_image(store.root / str(row["image"]))
        sides.append(max(picture.size))
        items.append(
            LabelItem(
                id=number + 1,
                kind="image",
                place=number,
                action=str(row["action"]),
                subject=str(row["subject"]),
                number=int(row["index"]),
                sha=pixels_hash(picture),
                raters=choice.raters,
                run=choice.run,
                image=str(row["image"]),
                stratum=choice.stratum,
                probability=choice.probability,
            )
        )
        progress.update(number + 1, len(chosen), "reading images")
    known, pictures = _known(suite, len(items), max(sides), options) if options.gold else ([], {})
    meta = {
        "suite": suite.name,
        "suite_fingerprint": records[0].suite_fingerprint,
        "runs": list(run_ids),
        "budget": len(items),
        "seed": options.seed,
        "overlap": options.overlap,
        "judges": {record.id: record.judge.name for record in records},
    }
    return Labels.create(path, meta, [*items, *known], pictures)


def _suite(store: Store, record: RunRecord) -> Suite:
    """The suite with its dataset, which can draw gold; with its thumbnails if it is gone."""
    try:
        return find_suite(record)
    except UserError:
        return shown_suite(store, record)


def _known(
    suite: Suite, images: int, side: int, options: StudyOptions
) -> tuple[list[LabelItem], dict[int, bytes]]:
    """Items with known answers: the training round, then gold."""
    gold = min(MOST, -(-images // (EVERY - 1)))
    made = gold_pictures(suite, TRAINING + gold, side, options.seed)
    items, pictures = [], {}
    for number, one in enumerate(made):
        training = number < TRAINING
        kind: Kind = "training" if training else "gold"
        place = number if training else number - TRAINING
        item = _known_item(one, images + number + 1, kind, place)
        items.append(item)
        pictures[item.id] = png(one.picture)
    return items, pictures


def _known_item(gold: Gold, number: int, kind: Kind, place: int) -> LabelItem:
    return LabelItem(
        id=number, kind=kind, place=place, action=gold.action.name, subject=gold.subject.name,
        number=0, sha=pixels_hash(gold.picture), raters=0,
        action_truth=gold.action_truth, subject_truth=gold.subject_truth,
    )  # fmt: skip


def png(image: Image) -> bytes:
    """Write a picture's pixels as PNG, without anything else that its file holds."""
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


class Study:
    """A labels file with the runs' images that it asks about.

    Raises:
        UserError: if the runs are of another suite by now, or gone.
    """

    def __init__(self, labels: Labels, store: Store) -> None:
        self.labels = labels
        self.store = store
        meta = labels.meta()
        record = store.read_record(meta["runs"][0])
        if record.suite_fingerprint != meta["suite_fingerprint"]:
            raise UserError(
                f"{labels.path} asks about another version of suite {record.suite} than the runs "
                f"in {store.root} are of: name the runs folder of the study, or another --labels"
            )
        self.suite = shown_suite(store, record)
        self.actions = {action.name: action for action in self.suite.actions}
        self.subjects = {subject.name: subject for subject in self.suite.subjects}

    def picture(self, item: LabelItem) -> Image:
        """Return an item's picture.

        Raises:
            UserError: if it is gone, or is not the one that the study was planned with.
        """
        from PIL import Image

        stored = self.labels.png(item.id)
        if stored is not None:
            return Image.open(io.BytesIO(stored)).convert("RGB")
        path = self.store.root / str(item.image)
        picture = read_image(path)
        if pixels_hash(picture) != item.sha:
            raise UserError(
                f"{path} has changed since the study began, so it is not asked about: "
                "put the old image back, or begin a new study"
            )
        return picture

    def damaged(self) -> Iterator[tuple[int, str]]:
        """Yield the items whose images are gone or have changed, and how."""
        for item in self.labels.items("image"):
            try:
                self.picture(item)
            except UserError as error:
                yield item.id, str(error)

    def next_item(
        self, rater: str, *, excluded: Collection[int] = (), passed: Collection[int] = ()
    ) -> LabelItem | None:
        """Choose what a rater is asked next; None if there is nothing left.

        First the training round; then images, and one gold picture in every `EVERY`, at a place
        that depends on rater and study.
        """
        training = self.labels.unanswered(rater, "training")
        if training:
            return training[0]
        answers = [label for label in self.labels.labels() if label.rater == rater]
        kinds = {item.id: item.kind for item in self.labels.items()}
        done = sum(kinds[label.item] == "image" for label in answers)
        checked = sum(kinds[label.item] == "gold" for label in answers)
        gold = self.labels.unanswered(rater, "gold")
        if gold and _gold_due(rater, done, checked):
            return gold[0]
        found = self.labels.claim(rater, excluded=excluded, passed=passed)
        return found[0] if found else None

    def packet(
        self,
        rater: str,
        count: int | None,
        *,
        excluded: Collection[int] = (),
        passed: Collection[int] = (),
        seconds: float = CLAIM_SECONDS,
    ) -> list[LabelItem]:
        """Choose all that a rater is asked, in order: training, then images with gold among them.

        Args:
            count: images at most; all that are open to the rater if None.
            seconds: how long they are kept from others.
        """
        most = len(self.labels.items("image")) if count is None else count
        images = self.labels.claim(
            rater, excluded=excluded, passed=passed, seconds=seconds, count=most
        )
        gold = self.labels.unanswered(rater, "gold")
        items = self.labels.unanswered(rater, "training")
        checked = 0
        for done, image in enumerate(images):
            if checked < len(gold) and _gold_due(rater, done, checked):
                items.append(gold[checked])
                checked += 1
            items.append(image)
        return items

    def progress(self, rater: str, *, passed: Collection[int] = ()) -> tuple[int, int]:
        """Count the images and gold pictures that a rater has answered, and those to the end.

        The end is when every image has its raters, as far as this rater can help.
        """
        labels = [label for label in self.labels.labels() if label.item not in passed]
        kinds = {item.id: item for item in self.labels.items() if item.id not in passed}
        own = {label.item for label in labels if label.rater == rater}
        given: dict[int, int] = {}
        for label in labels:
            given[label.item] = given.get(label.item, 0) + 1
        done = sum(kinds[number].kind != "training" for number in own)
        left = [item for item in kinds.values() if item.kind == "image" and item.id not in own]
        open_ = sum(given.get(item.id, 0) < item.raters for item in left)
        gold = sum(item.kind == "gold" and item.id not in own for item in kinds.values())
        return done, done + open_ + min(gold, -(-open_ // (EVERY - 1)))


def _gold_due(rater: str, done: int, checked: int) -> bool:
    """Whether the rater's next picture is gold, after so many images and gold pictures."""
    rng = np.random.default_rng([*rater.encode(), checked])
    return done >= checked * (EVERY - 1) + int(rng.integers(EVERY - 1))
