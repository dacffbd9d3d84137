"""The options that several commands take, named after the fields of `RunOptions`."""

from __future__ import annotations

import csv
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import click

from actionbench.runs.options import DEFAULTS, Device, Dtype, Profile, Prompts
from actionbench.suite.drawn import MOST_EXEMPLARS

FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)

Command = Callable[..., Any]
Decorator = Callable[[Command], Command]


def names(_context: click.Context, _option: click.Parameter, text: str | None) -> list[str] | None:
    """Read `A,B` as a list; None if the option is not given.

    A name with a comma stands in quotes, as in a CSV file: `"Smith, Jr.",panda`.
    """
    if text is None:
        return None
    try:
        row = next(csv.reader([" ".join(text.split())], skipinitialspace=True, strict=True), [])
    except csv.Error as error:
        raise click.BadParameter(f'{error}: quote a name as a whole, "A, B"') from error
    listed = [name.strip() for name in row if name.strip()]
    if not listed:
        raise click.BadParameter("is empty")
    return listed


def numbers(
    _context: click.Context, _option: click.Parameter, text: str | None
) -> list[int] | None:
    """Read `A,B` as whole numbers above zero; None if the option is not given."""
    if text is None:
        return None
    try:
        listed = [int(word) for word in text.split(",")]
    except ValueError:
        listed = []
    if not listed or min(listed) < 1:
        raise click.BadParameter(f"'{text}': give whole numbers from 1 on, as 8,16")
    return listed


runs_option = click.option(
    "--runs", default=DEFAULTS.runs, show_default=True, type=click.Path(path_type=Path),
    metavar="DIR", help="Folder of the stored runs.",
)  # fmt: skip


def runs_words(runs: Path) -> str:
    """Write the option for a suggested command: nothing for the default folder."""
    return "" if runs == DEFAULTS.runs else f" --runs {shlex.quote(str(runs))}"


device_option = click.option(
    "--device", default=DEFAULTS.device, show_default=True, type=click.Choice(get_args(Device))
)
model_option = click.option(
    "--model", metavar="NAME",
    help="Base model, instead of the suite's own: sd-2.1, sd-2.1-base, sd-1.5, a folder or a Hub "
    "id.",
)  # fmt: skip
profile_option = click.option(
    "--profile", default=DEFAULTS.profile, show_default=True, type=click.Choice(get_args(Profile)),
    help="Where the methods' settings come from: each paper, with rates made for this model by one "
    "rule; the search on development actions; or short fits for a look.",
)  # fmt: skip
prompts_option = click.option(
    "--prompts", default=DEFAULTS.prompts, show_default=True, type=click.Choice(get_args(Prompts)),
    help="What methods train under: each one's own kind of prompts, or one kind for all.",
)  # fmt: skip
judge_option = click.option("--judge", metavar="NAME", help="Judge, instead of the suite's own.")
judge_set_option = click.option(
    "--judge-set", "judge_words", multiple=True, metavar="KEY=VALUE",
    help="A setting of the judge; see `actionbench judges list --settings`.",
)  # fmt: skip
set_option = click.option(
    "--set", "words", multiple=True, metavar="KEY=VALUE",
    help="A setting of the method, if only one is named; see `actionbench methods list "
    "--settings`.",
)  # fmt: skip
methods_option = click.option(
    "--method", "methods", default="all", show_default=True, callback=names,
    metavar="NAME[,NAME...]",
)  # fmt: skip
actions_option = click.option(
    "--actions", callback=names, metavar="A,B",
    help="Only these of the suite; a name with a comma stands in double quotes.",
)  # fmt: skip
dataset_option = click.option(
    "--suite", metavar="PATH",
    help="Where the runs' dataset is, if it was moved: its folder or YAML file.",
)  # fmt: skip
images_option = click.option(
    "--images-per-pair",
    default=DEFAULTS.images_per_pair,
    show_default=True,
    type=click.IntRange(1, 1000),
)
seed_option = click.option("--seed", default=DEFAULTS.seed, show_default=True)
_exemplar_options = (
    click.option("--exemplar-seed", default=DEFAULTS.exemplar_seed, show_default=True,
                 type=click.IntRange(0), metavar="K",
                 help="Redraws a drawn suite's exemplars; 0: its own."),
    click.option("--exemplars", default=DEFAULTS.exemplars, show_default=True,
                 type=click.IntRange(1, MOST_EXEMPLARS), metavar="N",
                 help="How many of each action are learned from, on a drawn suite."),
)  # fmt: skip
html_option = click.option(
    "--html", default="auto", show_default=True,
    type=click.Choice(["auto", "file", "folder", "none"]),
    help="index.html as one file with small images in it, with a folder of images beside it, as "
    "the images' number and size suit, or not at all.",
)  # fmt: skip
workers_option = click.option(
    "--workers", type=click.IntRange(1), metavar="N",
    help="Actions worked on at once. Default: one a GPU, or one a core as far as memory allows.",
)  # fmt: skip
fits_at_once_option = click.option(
    "--fits-at-once", type=click.IntRange(1), metavar="N",
    help="Actions that a token-learning method fits in lockstep. Default: by memory on a GPU, 1 on "
    "a CPU.",
)  # fmt: skip
ray_option = click.option(
    "--ray", metavar="ADDRESS",
    help="Work on a Ray cluster: local, auto, or its head's host:port (actionbench[ray]).",
)  # fmt: skip
shipped_option = click.option(
    "--out", type=FOLDER, metavar="DIR", help="Default: the shipped folder."
)


def subjects_option(default: str = "") -> Decorator:
    return click.option(
        "--subjects", callback=names, metavar="A,B",
        help=f"Only these, or groups of them (human, celebrity, animal){default}; a name with a "
        "comma stands in double quotes.",
    )  # fmt: skip


def suite_option(default: str = DEFAULTS.suite) -> Decorator:
    return click.option(
        "--suite", default=default, show_default=True, metavar="NAME_OR_PATH",
        help="A suite's name, or your own: its folder or YAML file.",
    )  # fmt: skip


_SETUP_OPTIONS = (
    profile_option,
    prompts_option,
    model_option,
    device_option,
    click.option("--dtype", default=DEFAULTS.dtype, show_default=True,
                 type=click.Choice(get_args(Dtype))),
    click.option("--batch-size", default=DEFAULTS.batch_size, show_default=True,
                 type=click.IntRange(1), help="Images drawn at once: speed and memory, no more."),
    click.option("--gradient-checkpointing", is_flag=True,
                 help="Fits take less memory and compute their forward pass twice."),
    click.option("--vae-slicing", is_flag=True,
                 help="Encode and decode images one by one: less memory."),
    click.option("--offload", is_flag=True,
                 help="The text encoder waits in main memory while it has nothing to do."),
    click.option("--compile", is_flag=True,
                 help="Compile the UNet's blocks: a wait at first, for quicker steps."),
    workers_option,
    fits_at_once_option,
    ray_option,
    runs_option,
    judge_option,
    judge_set_option,
)  # fmt: skip
"""What a run is made with and where it is stored."""


def exemplar_options(command: Command) -> Command:
    for option in reversed(_exemplar_options):
        command = option(command)
    return command


def setup_options(command: Command) -> Command:
    for option in reversed(_SETUP_OPTIONS):
        command = option(command)
    return command
