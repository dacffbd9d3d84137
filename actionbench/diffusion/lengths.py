"""Prompts and captions that are too long for a text encoder, found before anything is fitted.

A text encoder takes so many tokens; the words beyond them are dropped. If they are the action's,
the method never sees the action, and its figures say nothing. Torch is not needed here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from actionbench.errors import UserError
from actionbench.files.kinds import UNET, Kind
from actionbench.files.models import kind_of_folder, network_class
from actionbench.files.networks import library_class, load_part
from actionbench.method import Method
from actionbench.suite.items import SLOT, Action, ActionTask, Item, Subject

_SHOWN = 3
"""So many texts are named in a message; the rest is counted."""


@dataclass(frozen=True)
class Text:
    """A prompt or caption, with `SLOT` where the action is."""

    where: str
    """What it is: "caption of wave-03"."""
    template: str
    action: str | None = None
    """The words in the slot's place; None for an identifier of one token."""


@dataclass(frozen=True)
class Cut:
    """A text of which words are dropped."""

    text: Text
    tokens: int
    """How long it is, beginning and end included."""
    loses_action: bool
    """True if words of the action, or the identifier's place, are among what is dropped."""


class PromptLengths:
    """The tokenizer of a base model, and how many tokens its text encoder takes."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoConfig

        kind = library_class(network_class(folder, "tokenizer"))
        self.tokenizer = load_part(kind, folder / "tokenizer")
        config = load_part(AutoConfig, folder / "text_encoder")
        self.kind = kind_of_folder(folder)
        config = getattr(config, "text_config", config)
        self.length = prompt_length(self.tokenizer, config, folder, self.kind)

    def count(self, texts: Sequence[str]) -> list[int]:
        """Count the tokens of each text, without beginning and end."""
        if not texts:
            return []
        texts = [text.lower() for text in texts] if self.kind.lowers else texts
        rows = self.tokenizer([*texts], add_special_tokens=False, verbose=False).input_ids
        return [len(row) for row in rows]

    def cut(self, texts: Sequence[Text]) -> list[Cut]:
        """List the texts of which words are dropped."""
        parts = [text.template.partition(SLOT) for text in texts]
        until = self.count([b + (t.action or "") for (b, _, _), t in zip(parts, texts)])
        after = self.count([part[2] for part in parts])
        room = self.length - self.kind.around
        cut = []
        for text, (_, slot, _), head, tail in zip(texts, parts, until, after, strict=True):
            head += bool(slot) and text.action is None
            if head + tail > room:
                loses = bool(slot) and head > room
                cut.append(Cut(text, head + tail + self.kind.around, loses))
        return cut

    def cut_prompts(
        self, prompt: str, actions: Sequence[Action], subjects: Sequence[Subject], described: bool
    ) -> list[Cut]:
        """List the suite's prompts of which words are dropped.

        Args:
            prompt: the suite's, with `{subject}` and `{action}`.
            described: with the actions' descriptions; else with an identifier.
        """
        firsts = [Item(actions[0], s, 0, prompt=prompt).slot_prompt for s in subjects]
        around = self.count([first.replace(SLOT, " ") for first in firsts])
        words = [(f" {a.name}", a.description) for a in actions] if described else [("", None)]
        own = self.count([word for _, word in words if word is not None]) if described else [1]
        # Words are separate tokens, so that only pairs whose sum is near the limit are counted.
        near = [
            Text(f"prompt of {subject.name}{name}", first, word)
            for subject, first, outer in zip(subjects, firsts, around, strict=True)
            for (name, word), inner in zip(words, own, strict=True)
            if outer + inner > self.length - self.kind.around - 2
        ]
        return self.cut(near)


@cache
def lengths_of(folder: Path) -> PromptLengths:
    """Load the tokenizer of a base model's folder, once."""
    return PromptLengths(folder)


def prompt_length(tokenizer: Any, config: Any, name: object, kind: Kind = UNET) -> int:
    """Return how many tokens a prompt has: what the tokenizer says, within the text encoder's.

    A tokenizer that was saved without a length says 1e30.

    Args:
        config: the text encoder's.
        name: the model, for messages.
        kind: the model's.

    Raises:
        UserError: if neither says it, or if the tokenizer lacks the tokens around a prompt.
    """
    for token in ("bos_token_id", "eos_token_id", "pad_token_id")[not kind.begins :]:
        if getattr(tokenizer, token) is None:
            raise UserError(f"model {name}: its tokenizer has no {token}: take the original's")
    places = kind.prompt_length or getattr(config, "max_position_embeddings", None)
    if places is None:
        raise UserError(
            f"model {name}: its text encoder's config has no max_position_embeddings, so that the "
            "length of a prompt is unknown: add it to text_encoder/config.json"
        )
    return min(int(tokenizer.model_max_length), int(places))


def cut_texts(
    folder: Path,
    prompt: str,
    method: Method[Any],
    tasks: Sequence[ActionTask],
    subjects: Sequence[Subject],
) -> list[Cut]:
    """List the texts of which a method's run drops words: prompts, templates, captions.

    Args:
        folder: the base model.
        prompt: the suite's.
        tasks: the run's actions with their exemplars.
        subjects: the run's subjects.
    """
    lengths, actions = lengths_of(folder), [task.action for task in tasks]
    cut = lengths.cut_prompts(prompt, actions, subjects, method.described)
    return cut + lengths.cut([*_trained_under(method, tasks)])


def _trained_under(method: Method[Any], tasks: Iterable[ActionTask]) -> Iterator[Text]:
    settings = method.settings
    if getattr(settings, "prompts", None) == "caption":
        yield from captions(tasks)
    elif method.needs_fit:
        for template in getattr(settings, "templates", ()):
            yield Text(f"template '{template}'", template)
    if getattr(settings, "pool_prompts", None) == "caption":
        yield from captions(tasks, described=True)


def captions(tasks: Iterable[ActionTask], *, described: bool = False) -> Iterator[Text]:
    """Yield the exemplars' captions, with an identifier or the action's words in its place."""
    for task in tasks:
        for exemplar in task.exemplars:
            words = task.action.description if described else None
            yield Text(f"caption of {exemplar.id}", exemplar.template, words)


def sentences(cut: Sequence[Cut], length: int) -> list[str]:
    """Say in a line each which texts lose the action, and which lose other words."""
    lines = []
    for loses, what in ((True, "the action"), (False, "last words")):
        own = [c for c in cut if c.loses_action == loses]
        if own:
            named = ", ".join(f"{c.text.where} ({c.tokens})" for c in own[:_SHOWN])
            more = ", ..." if len(own) > _SHOWN else ""
            lines.append(
                f"the text encoder takes {length} tokens and drops {what} of {len(own)} "
                f"longer texts: {named}{more}; shorten them"
            )
    return lines


def check_texts(
    folder: Path,
    prompt: str,
    method: Method[Any],
    tasks: Sequence[ActionTask],
    subjects: Sequence[Subject],
) -> list[str]:
    """Check what a method's run says to the text encoder; arguments as for `cut_texts`.

    Returns:
        A line if texts lose words that are not the action's.

    Raises:
        UserError: if one loses the action.
    """
    cut = cut_texts(folder, prompt, method, tasks, subjects)
    lines = sentences(cut, lengths_of(folder).length)
    if any(c.loses_action for c in cut):
        raise UserError(f"{method.name}: {lines[0]}")
    return [f"{method.name}: {line}" for line in lines]
