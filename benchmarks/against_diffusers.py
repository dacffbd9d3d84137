"""Compare our fits with the recipes of diffusers' training scripts, on one model in one run.

    python benchmarks/against_diffusers.py [--model PATH_OR_ID] [--steps 20] [--rounds 3]
                                           [--fits-at-once 4] [--device cpu]

The recipes are written here from what the scripts `textual_inversion.py`, `train_dreambooth.py` and
`train_custom_diffusion.py` do in each step: the images are encoded again, noise and timesteps are
drawn, the prompt is encoded whole, and AdamW updates the parameters. Textual Inversion and Custom
Diffusion optimise the whole table of token embeddings and then restore all rows but the new one.
Both sides see the same exemplars, samples a step and settings, without class images, and are timed
in turns: N steps and 2 N steps of each, whose difference is the time of N steps; on a CPU in
seconds that this process computed. Target: twice as many steps a second. "At most alone" is the
recipe's time over that of the UNet's own pass and gradients, which both need: no fit alone is
faster than that. Several fits in lockstep (`Method.fit_many`) may be.
"""

from __future__ import annotations

import argparse
import copy
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import ImageOps
from rate import fit_together, share, step_flops, step_seconds
from torch import Tensor

from actionbench.diffusion.backbone import Backbone
from actionbench.files.models import ModelSource, model_traits, resolve_model
from actionbench.method import Method
from actionbench.registry import get_method
from actionbench.runs.profiles import configure
from actionbench.suite.items import ActionTask
from actionbench.suite.suite import get_suite

TARGET = 2.0


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


def projections(unet: Any) -> list[Tensor]:
    """List keys and values of cross-attention."""
    return [
        parameter
        for name, parameter in unet.named_parameters()
        if "attn2.to_k" in name or "attn2.to_v" in name
    ]


def custom_diffusion(recipe: Recipe, steps: int) -> None:
    """Keys and values of cross-attention are trained, and the token table."""
    table = recipe.text_encoder.get_input_embeddings().weight.requires_grad_(True)
    trained = [parameter.requires_grad_(True) for parameter in projections(recipe.unet)]
    recipe.train(recipe.ids("photo of a sks person"), [*trained, table], steps, restore=True)


@dataclass(frozen=True)
class Comparison:
    recipe: Callable[[Recipe, int], None]
    trained: Callable[[Any], list[Tensor]]
    """What is trained of a UNet, besides what is learned of the text."""
    words: tuple[str, ...] = ()
    """Settings of ours."""


COMPARISONS = {
    "textual-inversion": Comparison(textual_inversion, lambda unet: []),
    "dreambooth": Comparison(dreambooth, lambda unet: [*unet.parameters()], ("prior_weight=0",)),
    "custom-diffusion": Comparison(custom_diffusion, projections, ("prior_weight=0",)),
}


def unet_alone(backbone: Backbone, compared: Comparison, samples: int, steps: int) -> None:
    """Take steps of the UNet's own pass and its gradients alone: no way of training lacks them."""
    unet = copy.deepcopy(backbone.pipeline.unet)
    trained = [parameter.requires_grad_(True) for parameter in compared.trained(unet)]
    config, like = unet.config, {"device": backbone.device, "dtype": backbone.dtype}
    latents = torch.randn(
        samples, config.in_channels, config.sample_size, config.sample_size, **like
    )
    states = torch.randn(samples, backbone.length, backbone.width, **like)
    # DreamBooth's text learns nothing.
    leaves = trained if len(trained) == len([*unet.parameters()]) else [*trained, states]
    states.requires_grad_(leaves[-1] is states)
    timesteps = torch.zeros(samples, dtype=torch.long, device=backbone.device)
    for _ in range(steps):
        prediction = unet(latents, timesteps, encoder_hidden_states=states).sample
        torch.autograd.grad(prediction.square().mean(), leaves)


def compare(
    name: str, backbone: Backbone, source: ModelSource, options: argparse.Namespace
) -> None:
    """Print the rows of one method."""
    compared = COMPARISONS[name]
    suite = get_suite("puppets")
    tasks = list(suite.tasks.values())
    traits = model_traits(source.preset, source.path)
    steps, device, group = options.steps, options.device, options.fits_at_once

    def method(count: int) -> Method[Any]:
        words = (f"steps={count}", *compared.words)
        return configure(get_method(name), traits, "published", words=words)

    def theirs(count: int) -> None:
        compared.recipe(Recipe.of(backbone, tasks[0], method(1).settings), count)

    def floor(count: int) -> None:
        unet_alone(backbone, compared, method(1).settings.batch_size, count)

    def ours(fits: int) -> Callable[[int], None]:
        return lambda count: fit_together(method(count), backbone, tasks, fits)

    works: dict[str, Callable[[int], None]] = {"theirs": theirs, "floor": floor, name: ours(1)}
    if group > 1 and method(1).lockstep:
        works[f"{name}, {group} in lockstep"] = ours(group)
    for work in works.values():
        work(1)
    rounds = [
        {way: step_seconds(work, steps, device) for way, work in works.items()}
        for _ in range(options.rounds)
    ]

    def median(number: Callable[[dict[str, float]], float]) -> float:
        return statistics.median(map(number, rounds))

    most = median(lambda took: took["theirs"] / took["floor"])
    flops = step_flops(method(1), source.path, len(backbone.layers))
    for way in list(works)[2:]:
        fits = 1 if way == name else group
        mine = median(lambda took, way=way, fits=fits: took[way] / fits)  # type: ignore[misc]
        ratio = median(lambda took, way=way, fits=fits: fits * took["theirs"] / took[way])  # type: ignore[misc]
        print(
            f"| {way} | {1000 * mine:.1f} | {1000 * median(lambda took: took['theirs']):.1f} | "
            f"{ratio:.2f} ({'ok' if ratio >= TARGET else 'MISSED'}) | {most:.2f} | "
            f"{share(flops, mine, device)} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=get_suite("puppets").model)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--fits-at-once", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    source = resolve_model(options.model)
    backbone = Backbone.load(source, device=options.device)
    threads = torch.get_num_threads()
    print(f"{backbone.name}, {options.device}, {threads} threads; target {TARGET}\n")
    print(
        "| method | ours, ms a step of one fit | diffusers' recipe | times as fast | at most "
        "alone | of a matrix product |"
    )
    print("|---|---:|---:|---:|---:|---:|")
    for name in COMPARISONS:
        compare(name, backbone, source, options)


if __name__ == "__main__":
    main()
