"""`actionbench data push`."""

from __future__ import annotations

from pathlib import Path

import click

from actionbench.commands.options import FOLDER
from actionbench.photos.sharing import push as upload
from actionbench.printing import say
from actionbench.runs.export import FILES, check_export, is_export


@click.command()
@click.argument("folder", type=FOLDER)
@click.argument("repo_id")
@click.option("--private", is_flag=True, help="If the repository is made: for you alone.")
@click.option("--revision", metavar="BRANCH", help="Default: main.")
def push(folder: Path, repo_id: str, private: bool, revision: str | None) -> None:
    """Upload an imported dataset or an exported run to the Hugging Face Hub."""
    exported = is_export(folder)
    if exported:
        check_export(folder)
    commit = upload(
        folder, repo_id, private=private, revision=revision, files=FILES if exported else None
    )
    say(f"pushed {folder}: {repo_id}@{commit}")
