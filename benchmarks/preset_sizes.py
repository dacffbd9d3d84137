"""Count what the base models of `files.models.MODEL_PRESETS` measure, from their public configs.

    python benchmarks/preset_sizes.py

The networks' shapes are typed in here as their configs on the Hub have them; for SANA and Stable
Diffusion 3.5 they are recalled, and parameters are compared with the sizes of the files that the
Hub lists. Nothing is fetched: networks are made on torch's `meta` device, and the operations of one
sample's pass are counted by torch. `MODEL_PRESETS` has these figures until a model is here.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

META: dict[str, Any] = {"device": "meta"}


def unet(side: int, width: int, **config: Any) -> tuple[Any, Callable[[Any], Any]]:
    """Make a UNet, and what passes a sample through it."""
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        network = UNet2DConditionModel(
            sample_size=side, cross_attention_dim=width, use_linear_projection=True, **config
        )
    added = {}
    if "addition_embed_type" in config:
        added["added_cond_kwargs"] = {
            "text_embeds": torch.empty(1, 1280, **META),
            "time_ids": torch.empty(1, 6, **META),
        }
    latents, states = torch.empty(1, 4, side, side, **META), torch.empty(1, 77, width, **META)
    time = torch.zeros(1, dtype=torch.long, **META)
    return network, lambda n: n(latents, time, encoder_hidden_states=states, **added)


def sdxl() -> tuple[Any, Callable[[Any], Any]]:
    """Stable Diffusion XL's UNet; read: its config on the Hub."""
    return unet(
        *(128, 2048),
        block_out_channels=(320, 640, 1280),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(5, 10, 20),
        transformer_layers_per_block=(1, 2, 10),
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
    )


def sd_1_5() -> tuple[Any, Callable[[Any], Any]]:
    """Stable Diffusion 1.5's UNet."""
    network, run = unet(64, 768, attention_head_dim=8)
    return network, run


def sd_2(side: int) -> tuple[Any, Callable[[Any], Any]]:
    """Stable Diffusion 2.1's UNet."""
    return unet(side, 1024, attention_head_dim=(5, 10, 20, 20))


def sana() -> tuple[Any, Callable[[Any], Any]]:
    """SANA 1.5's transformer of 1.6 B; recalled."""
    from diffusers import SanaTransformer2DModel

    with torch.device("meta"):
        network = SanaTransformer2DModel(
            in_channels=32, out_channels=32, num_layers=20, num_attention_heads=70,
            attention_head_dim=32, num_cross_attention_heads=20, cross_attention_head_dim=112,
            cross_attention_dim=2240, caption_channels=2304, mlp_ratio=2.5, sample_size=32,
            patch_size=1, qk_norm="rms_norm_across_heads",
        )  # fmt: skip
    latents, states = torch.empty(1, 32, 32, 32, **META), torch.empty(1, 300, 2304, **META)
    time = torch.zeros(1, dtype=torch.long, **META)
    return network, lambda n: n(latents, encoder_hidden_states=states, timestep=time)


def sd_3_5_medium() -> tuple[Any, Callable[[Any], Any]]:
    """Stable Diffusion 3.5 Medium's transformer; recalled."""
    from diffusers import SD3Transformer2DModel

    with torch.device("meta"):
        network = SD3Transformer2DModel(
            sample_size=128, patch_size=2, in_channels=16, out_channels=16, num_layers=24,
            attention_head_dim=64, num_attention_heads=24, joint_attention_dim=4096,
            caption_projection_dim=1536, pooled_projection_dim=2048, pos_embed_max_size=384,
            dual_attention_layers=tuple(range(13)), qk_norm="rms_norm",
        )  # fmt: skip
    latents, states = torch.empty(1, 16, 128, 128, **META), torch.empty(1, 333, 4096, **META)
    pooled, time = torch.empty(1, 2048, **META), torch.zeros(1, dtype=torch.long, **META)
    return network, lambda n: n(latents, states, pooled, time)


MODELS: dict[str, Callable[[], tuple[Any, Callable[[Any], Any]]]] = {
    "sd-1.5": sd_1_5,
    "sd-2.1-base": lambda: sd_2(64),
    "sd-2.1": lambda: sd_2(96),
    "sdxl": sdxl,
    "sana-1.5": sana,
    "sd-3.5-medium": sd_3_5_medium,
}


def measure(name: str) -> tuple[int, float]:
    """Return a denoiser's parameters, and the operations of one sample's pass."""
    network, run = MODELS[name]()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run(network.eval())
    return sum(p.numel() for p in network.parameters()), float(counter.get_total_flops())


def main() -> None:
    warnings.simplefilter("ignore")
    print("| model | the denoiser's parameters | TFLOP of one sample's pass |\n|---|---:|---:|")
    for name in MODELS:
        parameters, flops = measure(name)
        print(f"| {name} | {parameters:,} | {flops / 1e12:.3f} |", flush=True)


if __name__ == "__main__":
    main()
