"""Tiny models of the judges' real classes, with random weights, saved as the Hub's folders are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    RTDetrConfig,
    RTDetrForObjectDetection,
    RTDetrResNetConfig,
    SiglipConfig,
    SiglipModel,
    VitPoseBackboneConfig,
    VitPoseConfig,
    VitPoseForPoseEstimation,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.rt_detr.image_processing_pil_rt_detr import RTDetrImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.vitpose.image_processing_pil_vitpose import VitPoseImageProcessorPil

from actionbench.files.networks import quiet_libraries
from actionbench.plugins.tiny import tiny_tokenizer

SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
VISION = {**SMALL, "num_hidden_layers": 2, "image_size": 32, "patch_size": 8}


def _save(folder: Path, seed: int, kind: Any, config: Any, *parts: Any) -> Path:
    quiet_libraries()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = kind(config)
        for parameter in network.parameters():
            if parameter.dim() > 1:  # large enough that pictures and words make a difference
                parameter.data.mul_(4.0)
    network.save_pretrained(folder)
    for part in parts:
        part.save_pretrained(folder)
    return folder


def tiny_clip(folder: Path, seed: int = 0) -> Path:
    tokenizer = tiny_tokenizer("<|endoftext|>")
    text = {
        **SMALL,
        "num_hidden_layers": 2,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": tokenizer.model_max_length,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = CLIPConfig(text_config=text, vision_config=VISION, projection_dim=16)
    size = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    return _save(folder, seed, CLIPModel, config, tokenizer, CLIPImageProcessorPil(**size))


def tiny_siglip(folder: Path, seed: int = 0) -> Path:
    tokenizer = byte_tokenizer(["</s>"], eos_token="</s>", pad_token="</s>")
    text = {
        **SMALL,
        "num_hidden_layers": 2,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 64,
        "projection_size": 32,
    }
    config = SiglipConfig(text_config=text, vision_config=VISION)
    images = SiglipImageProcessorPil(size={"height": 32, "width": 32})
    return _save(folder, seed, SiglipModel, config, tokenizer, images)


CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for part in m['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QWEN_TOKENS = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>",
    "<|image_pad|>", "<|video_pad|>",
]  # fmt: skip


def tiny_qwen(folder: Path, seed: int = 0, chat: str | None = CHAT) -> Path:
    """Qwen2.5-VL with a processor for images alone, whose part for videos needs torchvision."""
    from transformers import Qwen2_5_VLProcessor

    from evaluation.judges.vqa import _images_only

    tokenizer = byte_tokenizer(QWEN_TOKENS, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in QWEN_TOKENS}
    config = Qwen2_5_VLConfig(
        text_config={
            **SMALL,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": 2048,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [1, 1, 2],
            },
            "bos_token_id": ids["<|endoftext|>"],
            "eos_token_id": ids["<|im_end|>"],
            "pad_token_id": ids["<|endoftext|>"],
        },
        vision_config={
            "depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2,
            "out_hidden_size": 32, "fullatt_block_indexes": [1], "window_size": 56,
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )  # fmt: skip
    images = Qwen2VLImageProcessorPil(size={"shortest_edge": 28 * 28, "longest_edge": 56 * 56})
    processor = _images_only(Qwen2_5_VLProcessor)(
        image_processor=images, tokenizer=tokenizer, chat_template=chat
    )
    return _save(folder, seed, Qwen2_5_VLForConditionalGeneration, config, processor)


def tiny_llava(folder: Path, seed: int = 0) -> Path:
    """Another family of image-text-to-text models, whose processor knows no videos."""
    tokenizer = byte_tokenizer(["<image>", "</s>"], eos_token="</s>", pad_token="</s>")
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**VISION),
        text_config=LlamaConfig(**SMALL, num_hidden_layers=2, vocab_size=len(tokenizer)),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=16,
    )
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessorPil(
            size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
        ),
        tokenizer=tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template="{% for m in messages %}{% for part in m['content'] %}"
        "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
        "{% endfor %}{% endfor %} ANSWER:",
    )
    return _save(folder, seed, LlavaForConditionalGeneration, config, processor)


def byte_tokenizer(special: list[str], **named: str) -> PreTrainedTokenizerFast:
    """Bytes, and the spellings of yes and no as tokens of their own."""
    words = ["yes", "Yes", "YES", "no", "No"]
    tokens = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *words, *(f"Ġ{w}" for w in words)]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    made = Tokenizer(models.BPE(vocabulary, [], ignore_merges=True))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=made, additional_special_tokens=special, model_max_length=64, **named
    )


def tiny_detector(folder: Path, seed: int = 0) -> Path:
    backbone = RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 8, 16, 16],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    config = RTDetrConfig(
        backbone_config=backbone,
        encoder_hidden_dim=16,
        encoder_in_channels=[8, 16, 16],
        feat_strides=[8, 16, 32],
        encoder_ffn_dim=32,
        encoder_attention_heads=2,
        d_model=16,
        decoder_in_channels=[16, 16, 16],
        decoder_ffn_dim=32,
        decoder_layers=2,
        decoder_attention_heads=2,
        num_queries=10,
        num_labels=80,
        num_denoising=0,
    )
    images = RTDetrImageProcessorPil(size={"height": 64, "width": 64})
    return _save(folder, seed, RTDetrForObjectDetection, config, images)


def tiny_vitpose(folder: Path, seed: int = 0) -> Path:
    backbone = VitPoseBackboneConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=[64, 48],
        patch_size=[8, 8],
        out_indices=[2],
    )
    config = VitPoseConfig(backbone_config=backbone, num_labels=17, use_simple_decoder=True)
    images = VitPoseImageProcessorPil(size={"height": 64, "width": 48})
    return _save(folder, seed, VitPoseForPoseEstimation, config, images)
