"""Measure every method on Stable Diffusion 2.1-base at its real size, with random weights.

    python benchmarks/sd21.py --device cuda [--methods adi,p-plus] [--steps 50] [--images 16]
                              [--dtype bfloat16] [--size 512] [--out sd21.json]

The networks are made from the published architecture; random weights change neither time nor
memory. Each method fits N steps and 2 N steps; the difference is the time of N steps. The time of a
whole fit is extrapolated from it to the method's own number of steps (3000 for ADI, and its pool).
Beside it is the floor: the counted operations, divided by this device's speed in a plain matrix
product. ADI's pool is trained and drawn at a small size and scaled by its own work. Class images,
which all fits of a run share, are in the JSON file (`shared_s`), estimated from the images per
second. Every method runs in a process of its own, so that its peak memory can be measured.

`--tiny` does the same on networks of the same structure and toy width; `--steps 2 --images 1` shows
on a CPU that it runs.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from actionbench.files.models import MODEL_PRESETS, ModelTraits
from actionbench.registry import method_names

PRESET = "sd-2.1-base"
EXPECTED = {"unet": 865_910_724, "vae": 83_653_863, "text_encoder": 340_387_840}
"""Numbers of parameters of the published model."""
EXEMPLARS = 10
SAMPLING_STEPS = 50
# Class images and pool are made small: their cost is known from that of a step and an image.
SMALL = {
    **{"class_images": 1, "class_sampling_steps": 1},
    **{"pool": "joint", "pool_steps": 1, "pool_actions": "stands", "pool_sampling_steps": 1},
}


def configs(size: int, tiny: bool) -> dict[str, dict[str, Any]]:
    """Return the configs of the pipeline's parts."""
    unet = {
        "sample_size": size // 8,
        "block_out_channels": [8, 8, 16, 16] if tiny else [320, 640, 1280, 1280],
        "attention_head_dim": [2, 2, 4, 4] if tiny else [5, 10, 20, 20],
        "cross_attention_dim": 16 if tiny else 1024,
        "norm_num_groups": 4 if tiny else 32,
        "layers_per_block": 2,
        "use_linear_projection": True,
    }
    vae = {
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "block_out_channels": [8, 8, 8, 8] if tiny else [128, 256, 512, 512],
        "norm_num_groups": 4 if tiny else 32,
        "layers_per_block": 2,
        "latent_channels": 4,
        "sample_size": size,
    }
    text_encoder = {
        "hidden_size": 16 if tiny else 1024,
        "intermediate_size": 32 if tiny else 4096,
        "num_hidden_layers": 2 if tiny else 23,
        "num_attention_heads": 2 if tiny else 16,
        "hidden_act": "gelu",
        "vocab_size": 49408,
        "max_position_embeddings": 77,
    }
    return {"unet": unet, "vae": vae, "text_encoder": text_encoder}


def make_backbone(size: int, tiny: bool, device: str, dtype: str, resources: Any) -> Any:
    """Make the pipeline in memory, on the device; its weights are small noise."""
    import torch

    from actionbench.diffusion.backbone import DTYPES
    from actionbench.diffusion.unet import OneEncoder
    from actionbench.files.networks import quiet_libraries
    from actionbench.plugins.tiny import sd_scheduler, tiny_tokenizer
    from actionbench.suite.items import Sampling

    quiet_libraries()
    from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    made = configs(size, tiny)
    with torch.device("meta"):
        parts = {
            "unet": UNet2DConditionModel(**made["unet"]),
            "vae": AutoencoderKL(**made["vae"]),
            "text_encoder": CLIPTextModel(CLIPTextConfig(**made["text_encoder"])),
        }
    for name, part in parts.items():
        count = sum(parameter.numel() for parameter in part.parameters())
        if not tiny and count != EXPECTED[name]:
            raise SystemExit(f"{name} has {count} parameters, not {EXPECTED[name]}")
        torch.nn.Module.to(part, DTYPES[dtype])  # on meta: nothing is converted
        part.to_empty(device=device)
        for key, parameter in part.named_parameters():
            if parameter.dim() > 1:
                parameter.data.normal_(std=0.02)
            else:  # scales and shifts
                parameter.data.fill_(1.0 if key.endswith("weight") else 0.0)
        for key, buffer in part.named_buffers():
            if key.endswith("position_ids"):
                buffer.copy_(torch.arange(buffer.numel()).view_as(buffer))
    # Any tokenizer of CLIP's class will do: its ids are within the vocabulary.
    pipeline = StableDiffusionPipeline(
        **parts,
        tokenizer=tiny_tokenizer(max_length=77),
        scheduler=sd_scheduler(MODEL_PRESETS[PRESET].prediction_type),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    backbone = OneEncoder(
        pipeline,
        name="random",
        fingerprint="random",
        preset=PRESET,
        device=device,
        dtype=dtype,
        resources=resources,
    )
    backbone.sampling = Sampling(steps=SAMPLING_STEPS, guidance_scale=7.5)
    return backbone


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one method in this process."""
    import torch

    from actionbench.device import Resources
    from actionbench.diffusion.backbone import DTYPES
    from actionbench.diffusion.cost import Networks
    from actionbench.plugins.tiny import tiny_items, tiny_task
    from actionbench.progress import SILENT
    from actionbench.registry import get_method
    from actionbench.runs.doctor import image_flops, matmul_speed
    from actionbench.runs.profiles import configure
    from actionbench.runs.provenance import peak_memory_mib
    from actionbench.suite.items import Sampling

    resources = Resources(gradient_checkpointing=options.gradient_checkpointing)
    speed = matmul_speed(options.device, DTYPES[options.dtype])
    with tempfile.TemporaryDirectory() as folder:
        for part, config in configs(options.size, options.tiny).items():
            (Path(folder) / part).mkdir()
            (Path(folder) / part / "config.json").write_text(json.dumps(config))
        networks = Networks(Path(folder), gradient_checkpointing=resources.gradient_checkpointing)
    backbone = make_backbone(options.size, options.tiny, options.device, options.dtype, resources)
    backbone.batch_size = options.batch_size
    task = tiny_task(exemplars=2)  # a step takes the same with two or ten
    kind = get_method(name)
    names = {field.name for field in dataclasses.fields(kind.Settings)}
    small = [f"{key}={value}" for key, value in SMALL.items() if key in names]
    if "controlnet" in names:
        small.append("controlnet=random")
    small += options.set
    whole = configure(kind, ModelTraits(PRESET), words=options.set)
    facts: dict[str, Any] = {"method": name, "matmul_tflops": speed / 1e12}

    def wait() -> float:
        if options.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def fit(*words: str) -> tuple[Any, Any, float]:
        method = configure(kind, ModelTraits(PRESET), words=[*small, *words])
        began = wait()
        made = method.fit(backbone, task, seed=0, progress=SILENT)
        return method, made, wait() - began

    if "steps" in names:
        fit("steps=1")  # warms up, and makes what all fits share
        _, _, once = fit(f"steps={options.steps}")
        method, made, twice = fit(f"steps={2 * options.steps}")
        step = (twice - once) / options.steps
        work = whole.fit_work(EXEMPLARS, len(backbone.layers))
        flops = networks.flops(
            dataclasses.replace(work, drawn=0, trained=work.trained if not work.batch else 0), 0
        )
        steps = whole.settings.steps
        facts |= {
            "step_s": step,
            "step_floor_s": flops / steps / speed,
            "steps": steps,
            "learning_s": steps * step,
        }
        if work.batch and work.trained:  # ADI's pool: its trainings, and its images
            trained = networks.trained.flops * work.trained + networks.forward.flops * work.drawn
            facts["pool_floor_s"] = trained / speed
            facts["pool_s"] = pool_seconds(backbone, whole.settings, work, wait)
        facts["fit_s"] = facts["learning_s"] + facts.get("pool_s", 0.0)
    else:
        method, made, _ = fit()
    if options.device == "cuda":
        facts["fit_peak_mib"] = torch.cuda.max_memory_allocated() / 2**20
        torch.cuda.reset_peak_memory_stats()
    else:
        facts["fit_peak_mib"] = peak_memory_mib()
    backbone.sampling = Sampling(steps=options.sampling_steps, guidance_scale=7.5)
    items = (tiny_items(count=23) * options.images)[: options.images]
    began = wait()
    list(method.generate(backbone, made, items))
    took = wait() - began
    facts["images_per_s"] = options.images / took
    if "steps" in names and work.drawn_once:  # class images, once for all fits
        facts["shared_s"] = work.drawn_once / 2 / options.sampling_steps / facts["images_per_s"]
    facts["images_per_s_ceiling"] = speed / image_flops(networks, backbone.sampling)
    on_gpu = options.device == "cuda"
    facts["draw_peak_mib"] = (
        torch.cuda.max_memory_allocated() / 2**20 if on_gpu else peak_memory_mib()
    )
    return facts


def pool_seconds(backbone: Any, settings: Any, work: Any, wait: Any) -> float:
    """Estimate the seconds of ADI's pool, from two steps of its training and one image."""
    import torch

    from actionbench.diffusion.finetune import FinetuneBatch, restored, train_unet
    from actionbench.suite.items import Sampling

    side = backbone.image_size // 8
    with torch.no_grad():
        states = backbone.encode_prompts([backbone.tokenize("a person stands")])
    latents = torch.zeros(1, 4, side, side, device=backbone.device, dtype=backbone.dtype)
    times = []
    for steps in (1, 1, 3):
        with restored(backbone.denoiser):
            began = wait()
            train_unet(
                backbone,
                lambda _generator: FinetuneBatch(latents, states),
                steps=steps,
                learning_rate=settings.pool_learning_rate,
                generator=torch.Generator().manual_seed(0),
            )
            times.append(wait() - began)
    step = (times[2] - times[1]) / 2
    began = wait()
    backbone.sample_latents(states, [0], Sampling(1, settings.pool_guidance_scale))
    image_step = wait() - began
    return work.trained * step + work.drawn / 2 * image_step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", help="names with commas; default: all")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=16, help="images drawn at once")
    parser.add_argument("--sampling-steps", type=int, default=SAMPLING_STEPS)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--size", type=int, default=512, help="side of the images in pixels")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a setting of the named methods",
    )
    parser.add_argument("--gradient-checkpointing", action="store_true")
    parser.add_argument("--tiny", action="store_true", help="toy widths, same structure")
    parser.add_argument("--out", type=Path, default=Path("sd21.json"))
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    names = options.methods.split(",") if options.methods else method_names()
    if options.one:
        print(json.dumps(measure(names[0], options)))
        return
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, {options.device}, {options.dtype}, "
        f"{options.size} px{', toy widths' if options.tiny else ''}\n"
    )
    print(
        "| method | step s | floor s | floor / step | whole fit s | images/s | ceiling | fit MiB | "
        "draw MiB |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    words = [word for word in sys.argv[1:] if word != "--one"]
    rows = []
    for name in names:
        command = [sys.executable, __file__, *words, "--one", "--methods", name]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            print(f"| {name} | failed, see above | | | | | | | |", flush=True)
            continue
        facts = json.loads(done.stdout.splitlines()[-1])
        rows.append(facts)

        def cell(key: str, digits: int = 3, facts: dict[str, Any] = facts) -> str:
            return f"{facts[key]:.{digits}g}" if key in facts else ""

        share = f"{facts['step_floor_s'] / facts['step_s']:.0%}" if "step_s" in facts else ""
        cells = [cell("step_s"), cell("step_floor_s"), share, cell("fit_s"), cell("images_per_s")]
        peaks = [f"{facts[key]:.0f}" for key in ("fit_peak_mib", "draw_peak_mib")]
        print(f"| {name} | {' | '.join([*cells, cell('images_per_s_ceiling'), *peaks])} |")
        sys.stdout.flush()
    used = {key: str(value) for key, value in vars(options).items() if key not in ("one", "out")}
    options.out.write_text(json.dumps({"options": used, "rows": rows}, indent=1) + "\n")
    print(f"\nwrote {options.out}")
    sys.exit(len(rows) != len(names))


if __name__ == "__main__":
    main()
