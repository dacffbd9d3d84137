"""The vqa judge: a vision-language model is asked two yes/no questions about each image.

Does whoever is in the picture do what the exemplars show, and does the picture show the subject?
The answer is read from the probabilities of the first generated token, so nothing is sampled.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np

from actionbench.errors import UserError
from actionbench.files.hashing import make_key
from actionbench.files.models import Network, NetworkSource, resolve_network
from actionbench.files.networks import (
    batched,
    check_finite,
    judge_advice,
    load_network,
    load_part,
)
from actionbench.judge import Judge, Verdict
from actionbench.settings import setting
from actionbench.suite.items import Item
from evaluation.judges.thresholds import balancing_threshold

if TYPE_CHECKING:
    from PIL.Image import Image

RULES = 1
"""Version of all but the prompts that decides a verdict; part of the fingerprint."""

PROMPTS = {
    "version": "1",
    "exemplars": "In each of these pictures somebody {description}.",
    "picture": "Now look at one more picture.",
    "action": "Does this picture show the action too: somebody {description}? "
    "Answer with yes or no.",
    "subject": "Does the picture show {phrase}? Answer with yes or no.",
}
"""All that the model is asked; part of the fingerprint. Raise the version with any change."""

YES, NO = "yes", "no"


@dataclass(frozen=True)
class VqaSettings:
    model: str = setting(
        "Qwen/Qwen2.5-VL-7B-Instruct",  # recalled and not verified here
        "instruction-tuned image-text-to-text model: a folder, or a Hub id (owner/name, "
        "owner/name@revision)",
    )
    dtype: Literal["float32", "float16", "bfloat16"] = setting(
        "bfloat16", "number format of the network"
    )
    batch_size: int = setting(
        8, "questions asked at once: speed and memory; in half precision also rounding", low=1
    )
    exemplars: int = setting(3, "exemplars shown with the question for the action", low=0)
    image_size: int = setting(
        448, "images are made at most this large, in pixels: what a picture costs in tokens", low=28
    )
    action_threshold: float = setting(
        0.5, "probability of yes from which the action is there", low=0, high=1
    )
    subject_threshold: float = setting(0.5, "the same for the subject", low=0, high=1)


class VqaJudge(Judge):
    """A vision-language model's yes or no to action (beside exemplars) and subject.

    It says yes or no about what was asked for, and not what it sees instead.
    """

    name: ClassVar[str] = "vqa"
    Settings: ClassVar[type] = VqaSettings
    left_out: frozenset[str] = frozenset()

    @cached_property
    def source(self) -> NetworkSource:
        (network,) = self.networks
        return resolve_network(network.path_or_id, "vqa judge's model", network.beside)

    @property
    def networks(self) -> tuple[Network, ...]:
        loader = "transformers.AutoModelForImageTextToText"
        return (Network(self.settings.model, loader, ("tokenizer", "images")),)

    @cached_property
    def fingerprint(self) -> str:
        chosen = self.settings
        return make_key(
            *("vqa", RULES, PROMPTS, self.source.fingerprint, chosen.dtype),
            *(chosen.exemplars, chosen.image_size),
            *(chosen.action_threshold, chosen.subject_threshold),
            [[a.description, self.suite.tasks[a.name].fingerprint] for a in self.suite.actions],
            [subject.phrase for subject in self.suite.subjects],
        )

    @cached_property
    def reader(self) -> VqaReader:
        return VqaReader(self.source, self.device, self.dtype, self.settings.batch_size)

    def without(self, exemplars: Collection[str]) -> Self:
        other = copy.copy(self)
        other.reader = self.reader  # loaded here, so that both have the same one
        other.left_out = frozenset(exemplars)
        return other

    def judge(self, images: Sequence[Image], items: Sequence[Item]) -> list[Verdict]:
        asked: dict[tuple[str, int, str], list[dict[str, Any]]] = {}
        exemplars = {name: self._shown(name) for name in {item.action.name for item in items}}
        # What is asked twice, as by a calibration, is answered once; likes stand together.
        for image, item in zip(images, items, strict=True):
            action = self._about_action(image, item, exemplars[item.action.name])
            asked["action", id(image), item.action.name] = action
        for image, item in zip(images, items, strict=True):
            asked["subject", id(image), item.subject.name] = self._about_subject(image, item)
        answers = dict(zip(asked, self.reader.ask([*asked.values()]), strict=True))
        chosen, verdicts = self.settings, []
        for image, item in zip(images, items, strict=True):
            action_yes = answers["action", id(image), item.action.name]
            subject_yes = answers["subject", id(image), item.subject.name]
            verdicts.append(
                Verdict(
                    action_correct=action_yes >= chosen.action_threshold,
                    subject_correct=subject_yes >= chosen.subject_threshold,
                    action_seen="",
                    subject_seen="",
                    action_score=action_yes,
                    subject_score=subject_yes,
                )
            )
        return verdicts

    def suggest(self, scores: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
        own = np.arange(scores.shape[1]) == truth[:, None]
        return {"action_threshold": round(balancing_threshold(scores[own], scores[~own]), 3)}

    def _about_action(
        self, image: Image, item: Item, exemplars: Sequence[Image]
    ) -> list[dict[str, Any]]:
        described = {"description": item.action.description}
        content: list[dict[str, Any]] = []
        if exemplars:
            content += [_text(PROMPTS["exemplars"].format(**described)), *map(_image, exemplars)]
            content += [_text(PROMPTS["picture"])]
        question = _text(PROMPTS["action"].format(**described))
        return [*content, _image(self._fitted(image)), question]

    def _about_subject(self, image: Image, item: Item) -> list[dict[str, Any]]:
        question = _text(PROMPTS["subject"].format(phrase=item.subject.phrase))
        return [_image(self._fitted(image)), question]

    def _shown(self, action: str) -> list[Image]:
        """The first few exemplars of an action that are not left out."""
        own = [e for e in self.suite.tasks[action].exemplars if e.id not in self.left_out]
        return [self._fitted(exemplar.image) for exemplar in own[: self.settings.exemplars]]

    def _fitted(self, image: Image) -> Image:
        fitted = image.convert("RGB")
        fitted.thumbnail((self.settings.image_size,) * 2)
        return fitted


def _text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def _image(image: Image) -> dict[str, Any]:
    return {"type": "image", "image": image}


class VqaReader:
    """The model with its processor: how probable is yes?"""

    def __init__(self, source: NetworkSource, device: str, dtype: str, batch_size: int) -> None:
        from transformers import AutoConfig, AutoModelForImageTextToText
        from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

        self.device, self.batch_size = device, batch_size
        self.name, self.advice = source.name, judge_advice(dtype)
        config = load_part(AutoConfig, source.path, source.name)
        try:
            kind = PROCESSOR_MAPPING[type(config)]
        except KeyError:
            raise UserError(
                f"{source.name} ({config.model_type}) is no model of images and text: "
                "name another with --judge-set model=PATH_OR_ID"
            ) from None
        self.processor = load_part(_images_only(kind), source.path, source.name, backend="pil")
        if self.processor.chat_template is None:
            raise UserError(
                f"{source.name} has no chat template: take an instruction-tuned model "
                "with --judge-set model=PATH_OR_ID"
            )
        # The answer's place is then the last one of every row, however long its question.
        self.processor.tokenizer.padding_side = "left"
        self.yes = answer_tokens(self.processor.tokenizer, YES)
        self.no = answer_tokens(self.processor.tokenizer, NO)
        self.model = load_network(AutoModelForImageTextToText, source, device, dtype)

    def ask(self, questions: Sequence[list[dict[str, Any]]]) -> list[float]:
        """The probability of yes against no for each question, a chat message's content."""
        import torch

        answers: list[float] = []
        with torch.inference_mode():
            for batch in batched(questions, self.batch_size):
                inputs = self.processor.apply_chat_template(
                    [[{"role": "user", "content": content}] for content in batch],
                    add_generation_prompt=True,
                    tokenize=True,
                    return_dict=True,
                    return_tensors="pt",
                    processor_kwargs={"padding": True},
                ).to(self.device, self.model.dtype)  # numbers of pixels alone, not ids
                logits = self.model(**inputs, logits_to_keep=1).logits[:, -1].float()
                yes = logits[:, self.yes].logsumexp(1)
                no = logits[:, self.no].logsumexp(1)
                probabilities = (yes - no).sigmoid()
                check_finite(
                    torch.cat([logits[:, [*self.yes, *self.no]], probabilities[:, None]], 1),
                    f"answers of the vqa judge's model {self.name}",
                    self.advice,
                )
                answers += probabilities.tolist()
        return answers


def _images_only(kind: Any) -> Any:
    """Make a processor class without its part for videos, which alone needs torchvision.

    transformers reads from the constructor's signature which parts a processor has.
    """
    if "video_processor" not in kind.get_attributes():
        return kind

    class ImagesOnly(kind):
        def __init__(
            self,
            image_processor: Any = None,
            tokenizer: Any = None,
            chat_template: str | None = None,
            **more: Any,
        ) -> None:
            super().__init__(
                image_processor=image_processor,
                tokenizer=tokenizer,
                chat_template=chat_template,
                **more,
            )

    ImagesOnly.__name__ = kind.__name__
    return ImagesOnly


def answer_tokens(tokenizer: Any, word: str) -> list[int]:
    """The tokens that are the word, in small, capital or all capital letters, spaced or not.

    A spelling of several tokens is left out: its first token is another word's as well.
    """
    spellings = [
        space + form for form in (word, word.capitalize(), word.upper()) for space in ("", " ")
    ]
    encoded = [tokenizer.encode(text, add_special_tokens=False) for text in spellings]
    single = sorted({ids[0] for ids in encoded if len(ids) == 1})
    if not single:
        raise UserError(f"the vqa judge's model has no token for '{word}': take another model")
    return single
