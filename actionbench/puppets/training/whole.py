"""From nothing to all that is shipped of the drawn world, in one go that can be killed anywhere."""

from __future__ import annotations

from pathlib import Path

from actionbench.progress import SILENT, Progress
from actionbench.puppets.training.readers import load_autoencoder, train_readers
from actionbench.puppets.training.recipe import STAGES, Recipe
from actionbench.puppets.training.stages import MODEL, pretrain


def pretrain_whole(
    out: Path,
    readers: Path,
    work: Path,
    recipe: Recipe | None = None,
    device: str = "cpu",
    progress: Progress = SILENT,
    workers: int = 1,
    until: str = STAGES[-1],
    factor: float = 1.0,
) -> Path | None:
    """Train base model and ControlNet into `out`, then the judge's readers into `readers`.

    Each part goes on from where the work folder stands. The readers come last, because a third of
    their pictures goes through the finished autoencoder; they are trained on the processor.

    Args:
        out, readers: where the models are written.
        work: corpora, checkpoints and logs.
        recipe: of the base model.
        device: of the base model's training.
        progress: is updated from time to time.
        workers: processes that draw.
        until: the last stage of the base model; before the last one, no reader is trained.
        factor: of the readers' usual lengths.

    Returns:
        `out`, or None before all stages are done.

    Raises:
        UserError: for a stage that does not exist, or a folder that holds other files.
    """
    made = pretrain(out, work, recipe, device, progress, until, workers)
    if until == STAGES[-1]:
        vae = load_autoencoder(out / MODEL / "vae")
        train_readers(readers, work, vae, factor=factor, progress=progress)
    return made
