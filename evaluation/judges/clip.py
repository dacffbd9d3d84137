"""The clip judge: which of the suite's actions and subjects does the picture suit best?

Zero-shot classification by an image and a text encoder trained on pairs: CLIP (Radford et al. 2021,
arXiv 2103.00020) or SigLIP (Zhai et al. 2023, arXiv 2303.15343). Each candidate is worded in
several ways whose embeddings are averaged (CLIP's prompt ensemble, section 3.1.4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from actionbench.files.hashing import make_key
from actionbench.files.models import Network, NetworkSource, resolve_network
from actionbench.files.networks import (
    batched,
    check_finite,
    judge_advice,
    load_image_processor,
    load_network,
    load_part,
)
from actionbench.judge import Judge, Verdict
from actionbench.settings import setting
from actionbench.suite.items import NONE, Item
from evaluation.judges.thresholds import balancing_threshold

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from actionbench.suite.suite import Suite

RULES = 1
"""Version of how similarities become verdicts; part of the fingerprint."""

ACTION_PROMPTS = (
    "a photo of a person who {}",
    "a picture of somebody who {}",
    "a person {}",
    "an image in which somebody {}",
    "somebody {} in this photo",
)
"""With an action's description, a verb phrase. "A person" even if the subject is an animal: all
candidates are wrong about it alike."""

SUBJECT_PROMPTS = (
    "a photo of {}",
    "a picture of {}",
    "an image that shows {}",
    "{}",
    "a photo in which {} does something",
)


@dataclass(frozen=True)
class ClipSettings:
    model: str = setting(
        # Recalled and not verified here; an id that is no CLIP is reported when it is loaded.
        "openai/clip-vit-large-patch14",
        "CLIP or SigLIP: a folder, or a Hub id (owner/name, owner/name@revision)",
    )
    dtype: Literal["float32", "float16", "bfloat16"] = setting(
        "float32", "number format of its networks"
    )
    batch_size: int = setting(
        32, "images looked at at once: speed and memory; in half precision also rounding", low=1
    )
    action_margin: float = setting(
        0.1,
        "how much the first action's probability must lie above the second's; else none is seen",
        low=0,
        high=1,
    )
    subject_margin: float = setting(0.1, "the same for the subject", low=0, high=1)


class ClipJudge(Judge):
    """Zero-shot CLIP or SigLIP: nearest of the suite's actions and subjects, or none by margin.

    Probabilities are the softmax of the scaled cosines over the suite's candidates, for SigLIP as
    for CLIP: its bias is the same for all of them. An image whose first candidate does not beat the
    second by the margin shows none. Exemplars are not looked at.
    """

    name: ClassVar[str] = "clip"
    Settings: ClassVar[type] = ClipSettings

    @cached_property
    def source(self) -> NetworkSource:
        (network,) = self.networks
        return resolve_network(network.path_or_id, "clip judge's model", network.beside)

    @property
    def networks(self) -> tuple[Network, ...]:
        return (Network(self.settings.model, "transformers.AutoModel", ("tokenizer", "images")),)

    @cached_property
    def fingerprint(self) -> str:
        chosen = self.settings
        return make_key(
            *("clip", RULES, ACTION_PROMPTS, SUBJECT_PROMPTS, self.source.fingerprint),
            *(chosen.dtype, chosen.action_margin, chosen.subject_margin),
            [[action.name, action.description] for action in self.suite.actions],
            [[subject.name, subject.phrase] for subject in self.suite.subjects],
        )

    @cached_property
    def reader(self) -> ClipReader:
        chosen = self.settings
        return ClipReader(self.source, self.suite, self.device, chosen.dtype, chosen.batch_size)

    def judge(self, images: Sequence[Image], items: Sequence[Item]) -> list[Verdict]:
        reader, chosen = self.reader, self.settings
        actions, subjects = reader.read(images)
        verdicts = []
        for action, subject, item in zip(actions, subjects, items, strict=True):
            seen = _seen(action, reader.actions, chosen.action_margin)
            who = _seen(subject, reader.subjects, chosen.subject_margin)
            verdicts.append(
                Verdict.naming(
                    *(item, seen, who),
                    float(action[reader.actions.index(item.action.name)]),
                    float(subject[reader.subjects.index(item.subject.name)]),
                )
            )
        return verdicts

    def suggest(self, scores: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
        """The margin at which right answers are refused as often as wrong ones are given.

        A right answer's margin is over all candidates; a picture that shows none of them is had by
        taking its own action away and asking for the nearest of the others.
        """
        rows = np.arange(len(truth))
        right = _margins(scores)[scores.argmax(1) == truth]
        others = scores.copy()
        others[rows, truth] = 0
        others /= others.sum(1, keepdims=True)
        return {"action_margin": round(balancing_threshold(right, _margins(others)), 3)}


def _margins(probabilities: np.ndarray) -> np.ndarray:
    """First minus second of each row, [n]; a single candidate stands against nothing."""
    padded = np.pad(probabilities, ((0, 0), (0, 1)))
    ordered = np.sort(padded, axis=1)
    margins: np.ndarray = ordered[:, -1] - ordered[:, -2]
    return margins


def _seen(probabilities: np.ndarray, names: Sequence[str], margin: float) -> str:
    clear = float(_margins(probabilities[None])[0]) >= margin
    return names[int(probabilities.argmax())] if clear else NONE


class ClipReader:
    """The two encoders, and the suite's candidates embedded once."""

    def __init__(
        self, source: NetworkSource, suite: Suite, device: str, dtype: str, batch_size: int
    ) -> None:
        from transformers import AutoModel, AutoTokenizer

        self.device, self.batch_size = device, batch_size
        self.name, self.advice = source.name, judge_advice(dtype)
        self.model = load_network(AutoModel, source, device, dtype)
        self.tokenizer = load_part(AutoTokenizer, source.path, source.name)
        self.images = load_image_processor(source)
        self.actions = [action.name for action in suite.actions]
        self.subjects = [subject.name for subject in suite.subjects]
        self._actions = self._candidates([a.description for a in suite.actions], ACTION_PROMPTS)
        self._subjects = self._candidates(
            [_noun(s.phrase) for s in suite.subjects], SUBJECT_PROMPTS
        )

    def _candidates(self, words: Sequence[str], prompts: Sequence[str]) -> Tensor:
        """[len(words), D]: the mean of a candidate's normalised embeddings, normalised again."""
        import torch
        from torch.nn.functional import normalize

        texts = [prompt.format(word) for word in words for prompt in prompts]
        ids = self.tokenizer(
            texts,
            padding="max_length",  # as SigLIP was trained; CLIP reads its state at the text's end
            max_length=self.model.config.text_config.max_position_embeddings,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        with torch.inference_mode():
            features = self.model.get_text_features(input_ids=ids.to(self.device)).pooler_output
            self._check(features, "embeddings of the suite's words")
            each = normalize(features.float(), dim=-1).unflatten(0, (len(words), len(prompts)))
            return normalize(each.mean(1), dim=-1)

    def read(self, images: Sequence[Image]) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities of the suite's actions [n, A] and subjects [n, S]."""
        import torch
        from torch.nn.functional import normalize

        distinct = {id(image): image for image in images}  # a calibration asks often about one
        embedded = []
        with torch.inference_mode():
            for batch in batched([*distinct.values()], self.batch_size):
                pixels = self.images([i.convert("RGB") for i in batch], return_tensors="pt")
                pixels = pixels.pixel_values.to(self.device, self.model.dtype)
                features = self.model.get_image_features(pixel_values=pixels).pooler_output
                self._check(features, "embeddings of pictures")
                embedded.append(normalize(features.float(), dim=-1))
            place = {key: number for number, key in enumerate(distinct)}
            rows = torch.cat(embedded)[[place[id(image)] for image in images]]
            scale = self.model.logit_scale.float().exp()
            actions, subjects = (
                (scale * rows @ candidates.T).softmax(1).cpu().numpy()
                for candidates in (self._actions, self._subjects)
            )
        self._check(np.concatenate([actions, subjects], axis=1), "probabilities")
        return actions, subjects

    def _check(self, numbers: Any, what: str) -> None:
        check_finite(numbers, f"{what} by the clip judge's model {self.name}", self.advice)


def _noun(phrase: str) -> str:
    """A subject's phrase within a sentence: "A panda" becomes "a panda", "Batman" stays."""
    article, _, rest = phrase.partition(" ")
    return f"{article.lower()} {rest}" if article in ("A", "An", "The") and rest else phrase
