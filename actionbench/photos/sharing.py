"""Upload and download of imported datasets on the Hugging Face Hub, each at one commit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from actionbench.errors import UserError
from actionbench.files.atomic import own_folder, replacing
from actionbench.files.hub import remedy
from actionbench.photos.imported import FACTS, FILES, check_imported

ORIGIN = "origin.json"
"""The file that names repository and commit in a folder that was pushed or pulled."""


def push(
    folder: Path,
    repo_id: str,
    *,
    private: bool,
    revision: str | None,
    files: Sequence[str] | None = None,
) -> str:
    """Upload a dataset, and return the commit, which is noted in the folder.

    The repository is made if it does not exist.

    Args:
        files: the files of a dataset that the caller has checked; by default it is an imported
            one, which is checked here.

    Raises:
        UserError: if the Hub cannot be reached or does not let this user write.
    """
    if files is None:
        check_imported(folder)
    from huggingface_hub import HfApi

    with _hub_errors(repo_id, "pushed to"):
        api = HfApi()
        api.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True)
        if revision:
            api.create_branch(repo_id, branch=revision, repo_type="dataset", exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            repo_type="dataset",
            revision=revision,
            allow_patterns=list(files or FILES),
            commit_message="ActionBench dataset",
        ).oid
    _note_origin(folder, repo_id, commit)
    return commit


def pull(source: str, out: Path) -> str | None:
    """Fetch a dataset into `out`, check it, and return the commit, which is noted there.

    Args:
        source: `owner/name`, `owner/name@revision`, or a folder with a dataset, which is copied
            together with the note of its commit (None is then returned).
        out: a new or empty folder, or an earlier dataset, which is replaced.

    Raises:
        UserError: if it cannot be fetched or is not an imported dataset; `out` is then unchanged.
    """
    out = own_folder(out, FACTS)
    local = Path(source).expanduser()
    folder, commit = (local, None) if local.is_dir() else _download(source)
    if folder.resolve() == out:
        raise UserError(f"{out} is the dataset's own folder: name another --out")
    check_imported(folder)
    with replacing(out) as place:
        place.mkdir()
        for file in (*FILES, ORIGIN):
            if (folder / file).exists():
                shutil.copyfile(folder / file, place / file)
        if commit:
            _note_origin(place, source.partition("@")[0], commit)
    return commit


def _download(source: str) -> tuple[Path, str]:
    """Fetch a dataset; return its folder in the cache, and the commit."""
    from huggingface_hub import snapshot_download

    repo_id, _, revision = source.partition("@")
    with _hub_errors(source, "fetched from"):
        folder = Path(
            snapshot_download(
                repo_id,
                repo_type="dataset",
                revision=revision or None,
                allow_patterns=list(FILES),
            )
        )
    return folder, folder.name  # snapshots/COMMIT


def _note_origin(folder: Path, repo_id: str, commit: str) -> None:
    text = json.dumps({"repo": repo_id, "revision": commit}, indent=2)
    (folder / ORIGIN).write_text(text, "utf-8")


@contextmanager
def _hub_errors(repo_id: str, doing: str) -> Iterator[None]:
    """Turn an error of the Hub or the network into a UserError that says how to fix it."""
    from huggingface_hub import errors

    # Raised by the Hub's HTTP library, which is another one in other versions.
    no_answer = errors.HTTPError  # type: ignore[attr-defined]
    try:
        yield
    except errors.HFValidationError as error:
        raise UserError(
            f"'{repo_id}' is neither a folder nor a repository: write it as owner/name"
        ) from error
    # RuntimeError is raised by the Hub's own upload library (hf_xet).
    except (OSError, no_answer, RuntimeError) as error:
        raise UserError(f"{repo_id} cannot be {doing} the Hub: {remedy(error)}") from error
