"""Compare our fits with the recipes of diffusers' training scripts, on one model in one run.

    python benchmarks/against_diffusers.py [--model PATH_OR_ID] [--steps 20] [--device cpu]

The recipes are written here from what the scripts `textual_inversion.py`, `train_dreambooth.py` and
`train_custom_diffusion.py` do in each step: the images are encoded again, noise and timesteps are
drawn, the prompt is encoded whole, and AdamW updates the parameters. Textual Inversion and Custom
Diffusion optimise the whole table of token embeddings and then restore all rows but the new one.
Both sides see the same exemplars, samples a step and settings, without class images, and are timed
in turns: N steps and 2 N steps of each, whose difference is the time of N steps. Target: at least
twice as many steps a second for Textual Inversion.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import ImageOps
from rate import share, step_flops
from torch import Tensor

from actionbench.diffusion.backbone import Backbone
from actionbench.files.models import ModelSource, model_traits, resolve_model
from actionbench.method import Method
from actionbench.progress import SILENT
from actionbench.registry import get_method
from actionbench.runs.profiles import configure
from actionbench.suite.items import ActionTask
from actionbench.suite.suite import get_suite

TARGETS = {"textual-inversion": 2.0}
ROUNDS = 3


@dataclass(frozen=True)
class Recipe:
    """What diffusers' scripts have in memory: the pipeline's parts, and the exemplars' pixels."""

    unet: Any
    vae: Any
    text_encoder: Any
    tokenizer: Any
    schedule: Any
    pixels: Tensor
    """[B, 3, H, W] in [-1, 1]."""
    batch_size: int
    learning_rate: float

    @classmethod
    def of(cls, backbone: Backbone, task: ActionTask, settings: Any) -> Recipe:
        pipeline = backbone.pipeline
        size = (backbone.image_size, backbone.image_size)
        pixels = [np.asarray(ImageOps.pad(e.image, size)) for e in task.exemplars]
        scaled = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1
        return cls(
            copy.deepcopy(pipeline.unet),
            pipeline.vae,
            copy.deepcopy(pipeline.text_encoder),
            pipeline.tokenizer,
            backbone.noise_schedule,
            scaled.to(backbone.device),
            settings.batch_size,
            settings.learning_rate,
        )

    def ids(self, prompt: str) -> Tensor:
        """Tokenize a prompt to the full length, once for each sample."""
        words = self.tokenizer(
            [prompt] * self.batch_size,
            padding="max_length",
            truncation=True,
            max_length=self.tokenizer.model_max_length,
            return_tensors="pt",
        )
        ids: Tensor = words.input_ids.to(self.pixels.device)
        return ids

    def loss(self, ids: Tensor) -> Tensor:
        """Return one step's loss, as all three scripts compute it."""
        rows = torch.randint(len(self.pixels), (self.batch_size,))
        latents = self.vae.encode(self.pixels[rows]).latent_dist.sample().detach()
        latents = latents * self.vae.config.scaling_factor
        noise = torch.randn_like(latents)
        last = self.schedule.config.num_train_timesteps
        timesteps = torch.randint(last, (self.batch_size,), device=latents.device)
        noisy = self.schedule.add_noise(latents, noise, timesteps)
        states = self.text_encoder(ids).last_hidden_state
        prediction = self.unet(noisy, timesteps, encoder_hidden_states=states).sample
        velocity = self.schedule.config.prediction_type == "v_prediction"
        target = self.schedule.get_velocity(latents, noise, timesteps) if velocity else noise
        return torch.nn.functional.mse_loss(prediction.float(), target.float())

    def train(
        self, ids: Tensor, parameters: Sequence[Tensor], steps: int, *, restore: bool
    ) -> None:
        """Take steps; with `restore`, all token embeddings but the last are put back after each."""
        table = self.text_encoder.get_input_embeddings().weight
        original = table.detach().clone()
        optimizer = torch.optim.AdamW(parameters, lr=self.learning_rate)
        for _ in range(steps):
            self.loss(ids).backward()
            if not restore:
                torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            if restore:
                with torch.no_grad():
                    table[:-1] = original[:-1]


def textual_inversion(recipe: Recipe, steps: int) -> None:
    """The token table is trained; text encoder, UNet and VAE are frozen."""
    table = recipe.text_encoder.get_input_embeddings().weight.requires_grad_(True)
    recipe.unet.train()  # as the script does, for gradient checkpointing
    recipe.train(recipe.ids("a photo of a sks"), [table], steps, restore=True)


def dreambooth(recipe: Recipe, steps: int) -> None:
    """The whole UNet is trained; the text encoder is frozen and still runs in each step."""
    recipe.unet.requires_grad_(True)
    recipe.unet.train()
    recipe.train(recipe.ids("a person sks"), list(recipe.unet.parameters()), steps, restore=False)


def custom_diffusion(recipe: Recipe, steps: int) -> None:
    """Keys and values of cross-attention are trained, and the token table."""
    table = recipe.text_encoder.get_input_embeddings().weight.requires_grad_(True)
    projections = [
        parameter.requires_grad_(True)
        for name, parameter in recipe.unet.named_parameters()
        if "attn2.to_k" in name or "attn2.to_v" in name
    ]
    recipe.train(recipe.ids("photo of a sks person"), [*projections, table], steps, restore=True)


RECIPES: dict[str, tuple[Callable[[Recipe, int], None], tuple[str, ...]]] = {
    "textual-inversion": (textual_inversion, ()),
    "dreambooth": (dreambooth, ("prior_weight=0",)),
    "custom-diffusion": (custom_diffusion, ("prior_weight=0",)),
}


def step_seconds(work: Callable[[int], Any], steps: int, device: str) -> float:
    """Time a step: the difference of 2 N and N steps."""
    taken = []
    for count in (steps, 2 * steps):
        began = time.perf_counter()
        work(count)
        if device == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - began)
    return (taken[1] - taken[0]) / steps


def compare(name: str, backbone: Backbone, source: ModelSource, steps: int, device: str) -> None:
    """Print the row of one method."""
    recipe, words = RECIPES[name]
    task = next(iter(get_suite("puppets").tasks.values()))
    traits = model_traits(source.preset, source.path)

    def method(count: int) -> Method[Any]:
        return configure(get_method(name), traits, "published", words=(f"steps={count}", *words))

    def ours(count: int) -> None:
        method(count).fit(backbone, task, seed=0, progress=SILENT)

    def theirs(count: int) -> None:
        recipe(Recipe.of(backbone, task, method(1).settings), count)

    ours(1), theirs(1)
    times = [(step_seconds(ours, steps, device), step_seconds(theirs, steps, device))
             for _ in range(ROUNDS)]  # fmt: skip
    mine = statistics.median(a for a, _ in times)
    other = statistics.median(b for _, b in times)
    ratio = statistics.median(b / a for a, b in times)
    flops = step_flops(method(1), source.path, len(backbone.layers))
    target = TARGETS.get(name)
    verdict = (
        "" if target is None else f" (target {target:g}: {'ok' if ratio >= target else 'MISSED'})"
    )
    print(
        f"| {name} | {1000 * mine:.1f} | {1000 * other:.1f} | {ratio:.2f}{verdict} | "
        f"{share(flops, mine, device)} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=get_suite("puppets").model)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    source = resolve_model(options.model)
    backbone = Backbone.load(source, device=options.device)
    print(f"{options.model}, {options.device}, {torch.get_num_threads()} threads\n")
    print("| method | ours, ms a step | diffusers' recipe | times as fast | of a matrix product |")
    print("|---|---:|---:|---:|---:|")
    for name in RECIPES:
        compare(name, backbone, source, options.steps, options.device)


if __name__ == "__main__":
    main()
