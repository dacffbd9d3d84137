"""`actionbench data import`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from actionbench.commands.display import JobProgress
from actionbench.commands.options import FOLDER, device_option
from actionbench.device import resolve_device
from actionbench.errors import UserError
from actionbench.files.models import local_model
from actionbench.printing import say
from actionbench.suite.suite import get_suite

if TYPE_CHECKING:
    from actionbench.photos.importing import Imported
    from actionbench.photos.keypoints import KeypointReader


def _count(_context: click.Context, _option: click.Parameter, text: str | None) -> int | None:
    """Read a number; None for `any`."""
    from actionbench.photos.importing import COUNT

    if text is None:
        return COUNT
    if text == "any":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise click.BadParameter(f"'{text}' is neither a number from 1 on nor `any`")
    return int(text)


@click.command("import")
@click.argument("source", metavar="DIR", type=FOLDER)
@click.option("--out", type=FOLDER, default=Path("photos"), show_default=True, metavar="FOLDER",
              help="The dataset; `--suite FOLDER` then measures on it.")  # fmt: skip
@click.option("--suite", default="photos", show_default=True, metavar="NAME_OR_PATH",
              help="Whose actions they are; one of your own is a YAML file.")  # fmt: skip
@click.option("--count", callback=_count, metavar="N|any",
              help="Photographs of each action; default: the paper's ten.")  # fmt: skip
@click.option("--size", type=click.Choice(["512", "768"]), default="512", show_default=True,
              help="Side in pixels.")  # fmt: skip
@click.option("--fit", type=click.Choice(["pad", "crop"]), default="pad", show_default=True,
              help="How they become square: black bars, or rims and limbs cut off.")  # fmt: skip
@click.option("--slot", type=click.Choice(["strict", "append"]), default="strict",
              show_default=True,
              help="For captions without {} and without the action's description: refuse them, or "
              "put {} at the end.")  # fmt: skip
@click.option("--allow-similar", is_flag=True, help="Take photographs that are nearly the same.")
@click.option("--captioner", metavar="PATH_OR_ID",
              help="A captioning model (BLIP), for photographs without a caption.")  # fmt: skip
@click.option("--keypoints", is_flag=True, help="Read keypoints, which ControlNet needs.")
@click.option("--detector", metavar="PATH_OR_ID",
              help="For keypoints: an RT-DETR that finds the people.")  # fmt: skip
@click.option("--pose-model", metavar="PATH_OR_ID",
              help="For keypoints: a ViTPose that reads them.")  # fmt: skip
@device_option
def import_(
    source: Path, out: Path, suite: str, count: int | None, size: str, fit: Any, slot: str,
    allow_similar: bool, captioner: str | None, keypoints: bool, detector: str | None,
    pose_model: str | None, device: str,
) -> None:  # fmt: skip
    """Make a dataset of DIR: photographs, one sub-folder for each action.

    Captions are taken from captions.csv, metadata.csv or metadata.jsonl, else from a .txt beside
    each photograph; without any, they are "a photo of a person" and the action's description. All
    problems are reported at once; then nothing is written.
    """
    from actionbench.photos.captioner import Captioner
    from actionbench.photos.importing import Choices, import_photographs

    if captioner or keypoints:
        device = resolve_device(device)
    reader = _reader(device, keypoints, detector, pose_model)
    with JobProgress() as progress:
        imported = import_photographs(
            source,
            out,
            get_suite(suite),
            Choices(count, int(size), fit, slot == "append", allow_similar),
            captioner=Captioner(captioner, device) if captioner else None,
            pose_reader=reader,
            progress=progress,
        )
    _print_imported(imported)
    _print_lengths(out)
    say(f"next: actionbench run --suite {shlex.quote(str(out))} --method adi")


def _reader(
    device: str, keypoints: bool, detector: str | None, pose_model: str | None
) -> KeypointReader | None:
    if keypoints:
        from actionbench.photos.keypoints import DETECTOR, POSE_MODEL, KeypointReader

        return KeypointReader(device, pose_model or POSE_MODEL, detector or DETECTOR)
    if detector or pose_model:
        raise UserError("--detector and --pose-model are for --keypoints: give it as well")
    return None


def _print_lengths(out: Path) -> None:
    """Say which captions are too long for the base model's text encoder, if it is here."""
    from actionbench.diffusion.lengths import captions, lengths_of, sentences

    suite = get_suite(str(out))
    try:
        folder = local_model(suite.model)
    except UserError as error:  # the dataset is written all the same
        say(f"captions' lengths are not checked: {error}")
        return
    if folder is None:
        say(f"captions' lengths are not checked: {suite.model} is not on this machine")
        return
    lengths = lengths_of(folder)
    for line in sentences(lengths.cut([*captions(suite.tasks.values())]), lengths.length):
        say(f"note: {line}")


def _print_imported(imported: Imported) -> None:
    for note, files in imported.notes.items():
        more = " ..." if len(files) > 5 else ""
        say(f"{note} ({len(files)}): {', '.join(files[:5])}{more}")
    counts = ", ".join(f"{action} {number}" for action, number in imported.counts.items())
    say(f"exemplars: {counts}")
    say(f"captions: {imported.captions}")
    say(f"wrote {imported.folder}, fingerprint {imported.fingerprint}")
