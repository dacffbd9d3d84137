"""How a picture's facts are put into words: partial, in many forms, as captions of the web are.

Two things hold of the captions, and `proof` measures both. None contains a prompt template of a
method with its slot filled, so that no method trains under a sentence that the base model has
learned by heart. Every word of every template, initialiser and class noun stands in at least one
caption of a hundred, so that no method trains under words that mean nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

Rng = np.random.Generator

ADJECTIVES = (
    "cropped", "clean", "dirty", "dark", "bright", "close-up", "good", "nice", "small", "large",
    "weird", "cool",
)  # fmt: skip
PICTURES = ("photo", "picture", "rendering", "rendition", "image")
"""Words for a picture, in templates and in captions."""

_TEXTUAL_INVERSION = """
a photo of a {}|a rendering of a {}|a cropped photo of the {}|the photo of a {}
a photo of a clean {}|a photo of a dirty {}|a dark photo of the {}|a photo of my {}
a photo of the cool {}|a close-up photo of a {}|a bright photo of the {}|a cropped photo of a {}
a photo of the {}|a good photo of the {}|a photo of one {}|a close-up photo of the {}
a rendition of the {}|a photo of the clean {}|a rendition of a {}|a photo of a nice {}
a good photo of a {}|a photo of the nice {}|a photo of the small {}|a photo of the weird {}
a photo of the large {}|a photo of a cool {}|a photo of a small {}
"""
TEMPLATES: tuple[str, ...] = (
    # Textual Inversion's 27, and those that this project used before.
    *(t for line in _TEXTUAL_INVERSION.split("\n") for t in line.split("|") if t),
    "a picture of a {}", "a picture of the {}", "a bright photo of a {}", "an image of a {}",
    # DreamBooth and Custom Diffusion.
    "a person {}", "photo of a {} person",
)  # fmt: skip
"""What methods train under. A caption with its own slot (ADI, ReVersion) is no template."""

WORDS = tuple(
    dict.fromkeys(
        [w for t in TEMPLATES for w in t.replace("{}", "").split()]
        + ["person", "man", "and", "stands", "with", "who", "in"]
    )
)
"""Every word of templates, initialisers and class nouns: known to the base model."""

WORD_LIMIT = 20
"""Words and commas of a caption, so that it fits the text encoder's length."""


@dataclass(frozen=True)
class Facts:
    """What there is to say about a picture."""

    name: str = ""
    """A named subject with its article: "a panda", "Batman"; "" for somebody without a name."""
    looks: tuple[str, ...] = ()
    """What there is to see of somebody without a name: "red hair", "a green shirt"."""
    does: str = ""
    """A verb phrase ("waves") or limb phrases ("left arm up, right knee up"); "" to say nothing."""
    where: str = ""
    """A place ("in a park"); "" to say nothing."""


@dataclass(frozen=True)
class Manner:
    """How often a caption says what, in [0, 1]."""

    pose: float = 0.88
    where: float = 0.6
    style: float = 0.45


def caption(facts: Facts, rng: Rng, manner: Manner | None = None) -> str:
    """One of the many captions of a picture; the same generator gives the same one."""
    manner = manner or Manner()
    shown = replace(
        facts,
        does=facts.does if rng.random() < manner.pose else "",
        where=facts.where if rng.random() < manner.where else "",
    )
    styled = rng.random() < manner.style
    while True:
        text = _styled(shown, rng) if styled else _sentence(shown, rng)
        if length(text) > WORD_LIMIT:
            styled, shown = False, _shorter(shown)
        elif not filled_template(text):
            return text


def length(text: str) -> int:
    """Words, hyphens and commas: about the tokens of a text."""
    return len(re.findall(r"\w+|[^\w\s]", text))


def is_limbs(does: str) -> bool:
    """Whether the words name limbs ("left arm up") rather than begin with a verb."""
    return bool(re.match(r"(left|right|both|arms?|legs?|knees?|hands?|leaning|bent)\b", does))


def contrary(does: str, other: str, rng: Rng) -> str:
    """Another pose in words like these: sides exchanged, one limb as `other` has it, or `other`.

    does, other: what two bodies do; the first stays if they do the same.
    """
    if not (is_limbs(does) and is_limbs(other)):
        return other
    phrases, others = does.split(", "), other.split(", ")
    kind = rng.random()
    if kind < 0.3:
        phrases = [_SIDES.sub(lambda side: _OTHER_SIDE[side[0]], phrase) for phrase in phrases]
    elif kind < 0.8:
        by_limb = {_limb(phrase): phrase for phrase in others}
        place = int(rng.integers(len(phrases)))
        phrases[place] = by_limb.get(_limb(phrases[place]), phrases[place])
    text = ", ".join(phrases)
    return other if text == does else text


_OTHER_SIDE = {"left": "right", "right": "left"}
_SIDES = re.compile(r"\b(left|right)\b")


def _limb(phrase: str) -> str:
    """What a limb phrase is about: "right arm", "left leg", "legs"."""
    words = phrase.split()
    limb = " ".join(words[:2]) if words[0] in _OTHER_SIDE else words[0]
    return limb.replace("knees", "legs").replace("knee", "leg")


def participle(verb_phrase: str) -> str:
    """The phrase with its verb in -ing: "waves" becomes "waving"."""
    verb, space, rest = verb_phrase.partition(" ")
    if verb == "has":
        stem = "hav"
    elif verb.endswith("ies"):
        stem = verb[:-3] + "y"
    elif verb.endswith(("sses", "shes", "ches", "xes")):
        stem = verb[:-2]
    else:
        stem = verb.removesuffix("s")
        if re.fullmatch(r"[^aeiou]*(?:u?[aeiou])[bdgmnpt]", stem):
            stem += stem[-1]
        elif stem.endswith("e") and not stem.endswith("ee"):
            stem = stem[:-1]
    return f"{stem}ing{space}{rest}"


def _pick(rng: Rng, values: Sequence[str]) -> str:
    return values[int(rng.integers(len(values)))]


def _shorter(facts: Facts) -> Facts:
    """Leave out one look, else the place."""
    if len(facts.looks) > 1:
        return replace(facts, looks=facts.looks[:-1])
    return replace(facts, where="", looks=())


def _an(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _bare(name: str) -> tuple[str, str]:
    """A name's article, if it has one, and the rest."""
    article, _, noun = name.partition(" ")
    return (article, noun) if article.lower() in ("a", "an") else ("", name)


def _who(facts: Facts, rng: Rng, with_verb: bool) -> str:
    """The subject's words; `with_verb` where a verb follows at once."""
    if facts.name:
        article, noun = _bare(facts.name)
        kind = rng.random()
        if kind < 0.84:
            return facts.name
        if not article:
            return f"{_pick(rng, ('cool', 'nice', 'good', 'the'))} {noun}"
        if kind < 0.94:
            return f"{_pick(rng, ('the', 'the', 'one', 'my', 'this'))} {noun}"
        return _an(f"{_pick(rng, ('nice', 'cool', 'weird', 'clean', 'dirty', 'good'))} {noun}")
    kind = rng.random()
    someone = _pick(rng, ("a person", "a person", "a person", "someone", "the person"))
    if facts.looks and kind < 0.72:
        count = int(rng.integers(1, len(facts.looks) + 1))
        chosen = [facts.looks[i] for i in sorted(rng.permutation(len(facts.looks))[:count])]
        if kind < 0.12 and len(chosen) == 1:
            return (
                f"{someone} in {chosen[0]}"
                if "hair" not in chosen[0]
                else f"{someone}, {chosen[0]}"
            )
        listed = " and ".join([", ".join(chosen[:-1]), chosen[-1]] if len(chosen) > 1 else chosen)
        return f"{someone} with {listed}"
    if with_verb:
        return _pick(rng, ("someone", "somebody", "the person", "one person", "this person"))
    return someone


def _sentence(facts: Facts, rng: Rng) -> str:
    """Who does what, where: one sentence without a word about the picture."""
    does, kind = facts.does, rng.random()
    if not does:
        who = _who(facts, rng, False)
        if facts.where and kind < 0.2:
            return f"{facts.where}, {who}"
        return _joined(who, facts.where)
    if is_limbs(does):
        return _limbs(facts, rng, kind)
    if kind < 0.60:
        text = f"{_who(facts, rng, True)} {does}"
    elif kind < 0.72:
        text = f"{_who(facts, rng, False)} {'that' if kind > 0.69 else 'who'} {does}"
    elif kind < 0.84:
        text = f"{_who(facts, rng, True)} {participle(does)}"
    elif kind < 0.92:
        return _joined(f"{facts.where}" if facts.where else "", f"{_who(facts, rng, True)} {does}")
    elif kind < 0.96:
        text = f"{participle(does)}: {_who(facts, rng, False)}"
    else:
        text = f"{_who(facts, rng, False)}, {does}"
    return _joined(text, facts.where)


def _limbs(facts: Facts, rng: Rng, kind: float) -> str:
    who, phrases = _who(facts, rng, False), facts.does.split(", ")
    # of three limbs often but one or two are named, as in the descriptions of fresh actions
    count = min(len(phrases), int(rng.choice([1, 2, 3, 3])))
    does = ", ".join(phrases[i] for i in sorted(rng.permutation(len(phrases))[:count]))
    if kind < 0.5:
        return _joined(f"{who} {does}", facts.where)
    if kind < 0.65:
        return _joined(f"{who}, {does}", f", {facts.where}" if facts.where else "")
    if kind < 0.8:
        return _joined(f"{_who(facts, rng, True)} stands, {does}", facts.where)
    if kind < 0.92 and not facts.looks:
        return _joined(f"{who} with {does}", facts.where)
    return _joined(f"{does}: {who}", facts.where)


def _joined(*parts: str) -> str:
    return " ".join(part for part in parts if part).replace(" ,", ",")


def _picture(rng: Rng) -> str:
    """A phrase for the picture itself: "a bright photo", "my picture"."""
    noun = _pick(rng, ("photo", *PICTURES))
    adjectives = [_pick(rng, ADJECTIVES) for _ in range(int(rng.choice([0, 1, 1, 1, 2])))]
    noun = " ".join((*dict.fromkeys(adjectives), noun))
    article = _pick(rng, ("a", "a", "a", "the", "my", "one", "this", ""))
    return _an(noun) if article == "a" else f"{article} {noun}".strip()


def _styled(facts: Facts, rng: Rng) -> str:
    """The sentence with something said of the picture."""
    picture, kind = _picture(rng), rng.random()
    if kind < 0.30:
        return f"{_sentence(facts, rng)}, {picture}"
    if kind < 0.42:
        return f"{picture}: {_sentence(facts, rng)}"
    if kind < 0.52:
        return f"in {picture} {_sentence(facts, rng)}"
    if kind < 0.60:
        return f"{picture} where {_sentence(facts, rng)}"
    if kind < 0.66:
        return f"{picture} and {_sentence(facts, rng)}"
    if kind < 0.84:
        # "photo of" before its object, but not behind the article that begins a template
        noun = _pick(rng, ("photo", "photo", *PICTURES))
        place = facts.where.removeprefix("in ").removeprefix("on ").removeprefix("at ")
        if place and kind < 0.76:
            return f"{noun} of {place} with {_sentence(replace(facts, where=''), rng)}"
        return f"{_pick(rng, ('my', 'this', 'one'))} {noun} of {_sentence(facts, rng)}"
    return f"{_sentence(facts, rng)}, {_pick(rng, ADJECTIVES)} and {_pick(rng, ADJECTIVES)}"


# --- the two proofs -----------------------------------------------------------------------------

_VERB = r"(?!with\b|in\b|on\b|at\b|and\b|who\b|that\b|from\b|of\b|as\b)\w+(?:s|ing)\b"
_LIMB = r"(?:left|right|both) (?:arm|leg|knee|hand)s?"


def _pattern(template: str) -> str:
    before, _, after = template.partition("{}")
    if template == "a person {}":
        return rf"\ba person (?:{_VERB}|{_LIMB})"
    if after.strip():
        return rf"\b{re.escape(before.strip())}n? (?:[\w-]+ ){{1,6}}{re.escape(after.strip())}\b"
    # whatever follows the head fills the slot; "an" stands for "a" before a vowel
    head = re.escape(before.strip())
    return rf"\b{head}{'n?' if head.endswith(' a') else ''}\b(?! *$)"


_FILLED = re.compile("|".join(f"(?:{_pattern(template)})" for template in TEMPLATES))


def filled_template(text: str) -> str:
    """The part of a text that is a template with its slot filled; "" where there is none."""
    match = _FILLED.search(text.lower())
    return match.group() if match else ""


@dataclass(frozen=True)
class Proof:
    """What a sample of captions shows."""

    captions: int
    filled: tuple[str, ...]
    """Captions that contain a filled template: none, if all is well."""
    shares: dict[str, float]
    """Of `WORDS`: the share of captions that contain each."""
    longest: int
    """Words of the longest caption."""

    def rare(self, least: float = 0.01) -> list[str]:
        """Words of templates and initialisers that stand in too few captions."""
        return [word for word, share in self.shares.items() if share < least]


def proof(draw: Callable[[Rng], str], count: int = 20_000, seed: int = 0) -> Proof:
    """Draw captions and look for filled templates and for words that are too rare."""
    rng = np.random.default_rng(seed)
    texts = [draw(rng) for _ in range(count)]
    counts = Counter(w for text in texts for w in set(re.findall(r"[\w-]+", text.lower())))
    return Proof(
        count,
        tuple(text for text in texts if filled_template(text)),
        {word: counts[word.lower()] / count for word in WORDS},
        max(length(text) for text in texts),
    )
