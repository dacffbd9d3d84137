"""`python -m actionbench.puppets.training --out DIR`: train, or go on training.

Checkpoints and logs lie in the user's cache folder (`actionbench/puppets-v2`) unless `--work` names
another, so that a fresh clone on the same machine goes on.

`torchrun --nproc-per-node N -m actionbench.puppets.training --until diffusion --only ...` trains
the diffusion model, once the parts before it are finished, with N processes (one thread each on a
CPU) that share each batch; with `--until controlnet`, the ControlNet.

With `assemble` in front, a pipeline is written from the diffusion model's last checkpoint, also
while the training runs; with `look`, a contact sheet (PNG) of what the models draw by then; with
`keep`, a small folder from which `--kept` goes on on another machine; with `begin`, the diffusion
model's first checkpoint from that of `--kept`, which was trained under another text encoder.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from actionbench.errors import UserError, one_line
from actionbench.files.hashing import cache_folder
from actionbench.progress import Progress
from actionbench.puppets.training.recipe import STAGES, Recipe, changed

WORK = cache_folder() / "puppets-v2"
CHOICES = ("train", "assemble", "look", "keep", "begin")


class Lines(Progress):
    """Prints where a job stands, a line a minute and at the end of each part."""

    def __init__(self, every: float = 60.0) -> None:
        self.every, self.last, self.part = every, -every, ""

    def update(self, done: int, total: int, what: str = "") -> None:
        now = time.monotonic()
        if what == self.part and now - self.last < self.every and done < total:
            return
        self.last, self.part = now, what
        print(f"{time.strftime('%F %T')} {what}: {done} of {total}", flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Read the command line and run. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m actionbench.puppets.training")
    parser.add_argument("what", nargs="?", choices=CHOICES, default="train")
    parser.add_argument("--work", type=Path, default=WORK, help="checkpoints and logs")
    parser.add_argument("--kept", type=Path, help="a folder by `keep`, to go on from")
    parser.add_argument("--out", type=Path, help="where the models are written")
    parser.add_argument("--until", choices=STAGES, default=STAGES[-1], help="the last stage to run")
    parser.add_argument("--only", action="store_true", help="that stage and what it needs")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=1, help="processes that draw")
    options = parser.parse_args(arguments)
    needed = "kept" if options.what == "begin" else "out"
    if getattr(options, needed) is None:
        parser.error(f"--{needed} is missing: name a folder")
    try:
        recipe = changed(Recipe(), options.set)
        # Only now: a wrong option is answered at once.
        from actionbench.puppets.training.stages import Training, assemble_latest, pretrain

        if options.kept:
            from actionbench.puppets.training.keeping import changes, restore

            print(f"from {options.kept}: {', '.join(restore(options.kept, options.work)) or None}")
            if warning := changes(options.kept, recipe):
                print(warning, file=sys.stderr)
        if options.what == "keep":
            from actionbench.puppets.training.keeping import keep

            training = Training(recipe, options.work, options.device, options.workers, Lines())
            print(keep(training, options.out))
        elif options.what == "begin":
            from actionbench.puppets.training.begin import begin_with

            training = Training(recipe, options.work, options.device, options.workers, Lines())
            print(begin_with(training, options.kept))
        elif options.what == "assemble":
            training = Training(recipe, options.work, options.device, options.workers, Lines())
            print(assemble_latest(training, options.out))
        elif options.what == "look":
            from actionbench.puppets.training.look import look

            print(look(Training(recipe, options.work, options.device), options.out))
        elif int(os.environ.get("WORLD_SIZE", "1")) > 1:
            from actionbench.puppets.training.stages import train_together

            if not options.only:
                raise UserError("several processes train one stage: add --only")
            train_together(recipe, options.work, options.until, Lines())
        else:
            place = (options.out, options.work, recipe, options.device, Lines())
            pretrain(*place, options.until, options.workers, options.only)
    except UserError as error:
        print(one_line(error), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
