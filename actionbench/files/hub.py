"""Files from the Hugging Face Hub: from the cache, else the network, else a message on how."""

from __future__ import annotations

import fnmatch
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from actionbench.errors import UserError, one_line

_UNWANTED = (
    *("*.bin", "*.ckpt", "*.pt", "*.pth", "*.msgpack", "*.h5", "*non_ema*", "*nonema*"),
    # The same networks for other programs, in SDXL's repository.
    *("*.onnx", "*.onnx_data", "*openvino*"),
)
"""Pickled or duplicate weights: never fetched, never read."""
_HALF = ("*.fp16.*", "*.fp16-*")
"""Duplicates in half precision: fetched if a repository is not whole without them."""

Lacking = Callable[[Path], Sequence[str]]
"""Lists what a folder lacks of a whole model, without reading the weights."""


@dataclass(frozen=True)
class Repository:
    """A repository on the Hub, and which of its files are wanted."""

    hub_id: str
    """`owner/name`, or `owner/name@revision`."""
    wanted: tuple[str, ...]
    """Patterns of the files."""
    lacking: Lacking
    """What decides whether a folder in the cache is whole: a download may have been cut short."""
    licence: str = ""
    """The name of its licence, if it is known here."""

    @classmethod
    def whole(cls, hub_id: str, lacking: Lacking) -> Repository:
        """Name all files of a model that transformers or diffusers may load."""
        return cls(hub_id, ("*.json", "*.txt", "*.model", "*.jinja", "*.safetensors"), lacking)

    @property
    def name(self) -> str:
        """The Hub id without the revision."""
        return self.hub_id.partition("@")[0]

    @property
    def page(self) -> str:
        """The address of its page, where its licence is and access is asked for."""
        from huggingface_hub.constants import ENDPOINT

        return f"{ENDPOINT}/{self.name}"

    @property
    def revision(self) -> str | None:
        """The revision, if the Hub id pins one."""
        return self.hub_id.partition("@")[2] or None

    def snapshot(self, *, local: bool) -> Path:
        """Return its folder in the cache, whole; its files are fetched first unless `local`.

        Raises:
            Incomplete: if it lacks files. Whatever the Hub's client raises otherwise.
        """
        folder = self._snapshot(_UNWANTED + _HALF, local)
        if self.lacking(folder):
            folder = self._snapshot(_UNWANTED, local)
        if lacking := self.lacking(folder):
            raise Incomplete(folder, lacking)
        return folder

    def _snapshot(self, ignored: Sequence[str], local: bool) -> Path:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError

        try:
            return Path(
                snapshot_download(
                    self.name,
                    revision=self.revision,
                    allow_patterns=list(self.wanted),
                    ignore_patterns=list(ignored),
                    local_files_only=local,
                )
            )
        except LocalEntryNotFoundError as error:
            # Newer clients remember the repository's list of files, and compare it themselves.
            folder = getattr(error, "snapshot_path", None)
            if folder is None:
                raise
            lacking = self.lacking(Path(folder)) or ["some of the files that the Hub lists"]
            raise Incomplete(Path(folder), lacking) from error

    def cached(self) -> Path | None:
        """Return its folder in the cache, without the network; None if it is not whole there.

        What was fetched once stays in use, even if the repository has changed since.
        """
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

        try:
            return self.snapshot(local=True)
        except (Incomplete, LocalEntryNotFoundError, HFValidationError):
            return None

    def missing(self) -> list[str]:
        """List what its folder in the cache lacks; empty if it is whole or not there at all."""
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

        try:
            self.snapshot(local=True)
        except Incomplete as error:
            return [*error.lacking]
        except (LocalEntryNotFoundError, HFValidationError):
            return []
        return []

    def remote_bytes(self) -> int | None:
        """Ask the network for the size of what would be fetched; None if it does not answer."""
        from huggingface_hub import HfApi

        try:
            info = HfApi().model_info(self.name, revision=self.revision, files_metadata=True)
        except Exception:  # no common class; `fetch`, which follows, says what is wrong
            return None
        return sum(file.size or 0 for file in info.siblings or () if self._wants(file.rfilename))

    def _wants(self, path: str) -> bool:
        def within(patterns: Sequence[str]) -> bool:
            return any(fnmatch.fnmatch(path, pattern) for pattern in patterns)

        return within(self.wanted) and not within(_UNWANTED + _HALF)


class Incomplete(Exception):
    """A folder in the cache lacks files of a whole model."""

    def __init__(self, folder: Path, lacking: Sequence[str]) -> None:
        self.folder, self.lacking = folder, tuple(lacking)
        super().__init__(f"{folder} lacks {', '.join(lacking)}")


def fetch(
    repositories: Sequence[Repository], kind: str, name: str, instead: str | None = None
) -> Path:
    """Return the folder of the first repository that is whole in the cache; else fetch one.

    What a cut download left is completed.

    Args:
        repositories: mirrors with the same content, in the order of preference.
        kind, name: what is wanted, in the user's words.
        instead: the option that takes a local folder, if there is one.

    Raises:
        UserError: if none can be fetched; it says what to download and where to put it.
    """
    for repository in repositories:
        if (folder := repository.cached()) is not None:
            return folder
    reasons = []
    for repository in repositories:
        try:
            return repository.snapshot(local=False)
        # The network's errors have no common class; each is reported under its repository.
        except Exception as error:
            reasons.append((repository, error))
    causes = "; ".join(f"{place.hub_id}: {remedy(error, place)}" for place, error in reasons)
    raise UserError(
        f"{kind} '{name}' is not a local folder and cannot be fetched from the Hub ({causes}); "
        + how_to_get(repositories[0], instead)
    ) from reasons[0][1]


def how_to_get(repository: Repository, instead: str | None) -> str:
    """Say how to get a missing repository onto a machine without a network."""
    from huggingface_hub.constants import HF_HUB_CACHE

    words = ["hf", "download", repository.name]
    words += ["--revision", repository.revision] if repository.revision else []
    # The option takes one pattern; a second one would be read as a file's name.
    unwanted = _UNWANTED + _HALF
    for option, patterns in (("--include", repository.wanted), ("--exclude", unwanted)):
        words += [word for pattern in patterns for word in (option, pattern)]
    command = f"on a machine with a network, run `{shlex.join(words)}"
    cached = f"models--{repository.name.replace('/', '--')}"
    copy = f"copy {cached} from that cache into {HF_HUB_CACHE}"
    if instead is None:
        return f"{command}` and {copy}"
    folder = repository.name.split("/")[-1]
    return f"{command}` and {copy}; or add --local-dir {folder} and pass {instead} {folder}"


def remedy(error: Exception, repository: Repository | None = None) -> str:
    """Say what the Hub or the network answered, and what to do about it.

    Args:
        repository: the one that was asked, for its page and licence.
    """
    from huggingface_hub import errors

    if isinstance(error, Incomplete):
        single = (
            "; if it holds a model in a single file, download that and name it with --model, which "
            "says how to convert it"
        )
        return f"it is not whole: {error}" + single * ("model_index.json" in error.lacking)
    # A refused download is wrapped in the error that the file is not in the cache either.
    error = error.__cause__ if isinstance(error.__cause__, errors.HfHubHTTPError) else error
    log_in = "log in with `hf auth login`, or set HF_TOKEN"
    if isinstance(error, errors.GatedRepoError):
        if repository is None:
            return f"it is gated: ask for access on its page, then {log_in}"
        licence = f" ({repository.licence})" if repository.licence else ""
        return f"it is gated: accept its licence{licence} on {repository.page}, then {log_in}"
    if isinstance(error, errors.RevisionNotFoundError):
        return "it has no such revision"
    if isinstance(error, errors.RepositoryNotFoundError):
        page = "" if repository is None else f" ({repository.page})"
        return (
            f"no repository of that name is visible to you{page}: check it; if it is private, "
            f"{log_in}"
        )
    if isinstance(error, errors.LocalTokenNotFoundError):
        return f"no token is stored: {log_in}"
    if isinstance(error, errors.HfHubHTTPError):
        status = error.response.status_code
        if status in (401, 403):
            return f"it refuses you (HTTP {status}): {log_in}, with a token that has the right"
        return f"it answered HTTP {status}: try again later"
    return f"it cannot be reached ({one_line(error)}): the network is needed this once"
