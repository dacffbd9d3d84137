"""Profiles: where the settings of a run's methods come from.

- `published`: each paper's own settings, on any base model. What does not carry over from Stable
  Diffusion is a learning rate, and one rule makes it of facts of the two base models alone: rates
  of UNet weights times the pretraining rate here over Stable Diffusion's, rates of tokens times the
  size of the token table's entries here over SD 2.1's; a rate that is an angle carries over.
  Nothing is chosen by results.
- `tuned`: what a search on development actions chose for this base model (`actionbench tune`).
- `quick`: the demo's short fits; they show that everything works, and nothing else.

`figures` says of each setting what it is and where it is from; `configure` makes the method.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from actionbench.errors import UserError, unknown
from actionbench.files.models import ModelTraits
from actionbench.method import Method
from actionbench.settings import build_settings

SD_PRETRAINING_RATE = 1e-4
"""Of Stable Diffusion's UNet, recalled from its model card."""
SD_TOKEN_RMS = 0.014
"""Root mean square of the entries of SD 2.1's token table. Recalled: `actionbench methods list
--settings --model sd-2.1` computes it if the weights are here, and then it belongs here."""
SD_2_1 = ("sd-2.1", "sd-2.1-base")
"""The models of which published rates are taken as they stand."""
QUICK_SHARE = 4
"""`quick` takes one of so many steps of the tuned fits, or else of the published ones."""
RECIPE = "recipe"
"""The setting that names one of a method's `recipes`."""


@dataclass(frozen=True)
class Figure:
    """A setting's value, and where it comes from."""

    value: Any
    origin: str


def configure(
    kind: type[Method[Any]],
    traits: ModelTraits,
    profile: str = "published",
    prompts: str = "own",
    words: Sequence[str] = (),
) -> Method[Any]:
    """Make a method with a profile's settings for a base model, changed by `key=value` words.

    Args:
        kind: the method's class.
        traits: of the base model.
        profile: `published`, `tuned` or `quick`.
        prompts: the prompt block: `own`, `caption` or `template`.
        words: changes by the user, which come last.

    Raises:
        UserError: a word that is no setting, a value out of its range, a block for a method that
            trains on no prompts, a profile that does not exist for the model.
    """
    values = {name: figure.value for name, figure in _changes(kind, traits, profile, words).items()}
    if prompts != "own":
        values["prompts"] = _block(kind, prompts, words)
    return kind(build_settings(kind.Settings, values, words))


def figures(
    kind: type[Method[Any]],
    traits: ModelTraits,
    profile: str = "published",
    prompts: str = "own",
    words: Sequence[str] = (),
) -> dict[str, Figure]:
    """Say of each setting what `configure` makes it, and where that comes from."""
    settings = configure(kind, traits, profile, prompts, words).settings
    origins = {field.name: field.metadata["source"] for field in _fields(kind)}
    for name, figure in _changes(kind, traits, profile, words).items():
        origins[name] = figure.origin
    if prompts != "own":
        origins["prompts"] = f"prompt block `{prompts}`"
    origins |= dict.fromkeys(_named(words), "--set")
    return {name: Figure(getattr(settings, name), origin) for name, origin in origins.items()}


def is_defined(kind: type[Method[Any]], traits: ModelTraits, profile: str) -> bool:
    """Whether a profile exists of a method for a model; only `tuned` may be missing."""
    return profile != "tuned" or _tuned(kind, traits) is not None


def trains_on_prompts(kind: type[Method[Any]]) -> bool:
    """Whether a method's training prompts can be chosen, by a setting `prompts`."""
    return any(field.name == "prompts" for field in _fields(kind))


def rates(kind: type[Method[Any]]) -> dict[str, str]:
    """Return a method's learning rates, by name, and what each moves: see `settings.Rate`."""
    return {f.name: f.metadata["rate"] for f in _fields(kind) if f.metadata["rate"]}


def _changes(
    kind: type[Method[Any]], traits: ModelTraits, profile: str, words: Sequence[str]
) -> dict[str, Figure]:
    """Return what differs from the defaults before the user's own words."""
    preset = traits.preset or ""
    tuned = _tuned(kind, traits) if profile != "published" else None
    if not is_defined(kind, traits, profile):
        raise UserError(
            f"no search has chosen settings of {kind.name} for {preset or 'this model'}: "
            "take --profile published"
        )
    sources = {field.name: field.metadata["source"] for field in _fields(kind)}
    changes = _scaled(kind, traits, _defaults(kind), sources) if tuned is None else {}
    # After the rule: what a preset says of a model holds, also of a rate.
    substitutes = kind.presets.get(preset, {})
    changes |= {n: Figure(value, f"substitute on {preset}") for n, value in substitutes.items()}
    changes |= {name: Figure(value, "search") for name, value in (tuned or {}).items()}
    if profile == "quick":
        changes |= _cut(kind, changes)
    recipe = _named(words).get(RECIPE)
    if recipe is not None and kind.recipes:
        if recipe not in kind.recipes:
            raise unknown(RECIPE, recipe, kind.recipes)
        values, source = kind.recipes[recipe], f"recipe {recipe}"
        changes |= {name: Figure(value, source) for name, value in values.items()}
        changes |= _scaled(kind, traits, values, dict.fromkeys(values, source))
    return changes


def _tuned(kind: type[Method[Any]], traits: ModelTraits) -> Mapping[str, Any] | None:
    """Return what a search chose; nothing to change for a method without a rate to search."""
    return kind.tuned.get(traits.preset or "", None if rates(kind) else {})


def _cut(kind: type[Method[Any]], changes: Mapping[str, Figure]) -> dict[str, Figure]:
    values = _defaults(kind) | {name: figure.value for name, figure in changes.items()}
    cut = {
        name: max(1, value // QUICK_SHARE)
        for name, value in values.items()
        if name.endswith("steps") and "sampling" not in name
    }
    cut |= kind.quick
    return {name: Figure(value, "cut for the demo") for name, value in cut.items()}


def _scaled(
    kind: type[Method[Any]],
    traits: ModelTraits,
    values: Mapping[str, Any],
    sources: Mapping[str, str],
) -> dict[str, Figure]:
    """Scale those of `values` that are rates, if the base model is another than SD 2.1."""
    if traits.preset in SD_2_1:
        return {}
    unet = (traits.pretraining_rate, SD_PRETRAINING_RATE, "pretraining rate here / SD's")
    # Four digits, so that no last bit of a sum on another machine makes another key.
    size = None if traits.token_rms is None else _rounded(traits.token_rms, 4)
    token = (size, SD_TOKEN_RMS, "token table's RMS here / SD 2.1's")
    scaled = {}
    for name, moves in rates(kind).items():
        value = values.get(name)
        if value is None or moves == "angle":
            continue
        here, there, words = {"unet": unet, "token": token}[moves]
        if here is None:
            origin = f"{sources[name]}; as on SD: the {words.split(' here')[0]} here is not known"
            scaled[name] = Figure(value, origin)
        else:
            origin = f"derived: {value:g} x {here:g} / {there:g} ({words})"
            origin += f", {value:g} {sources[name]}"
            scaled[name] = Figure(_rounded(value * here / there, 3), origin)
    return scaled


def _rounded(value: float, digits: int) -> float:
    return float(f"{value:.{digits}g}")


def _defaults(kind: type[Method[Any]]) -> dict[str, Any]:
    return {field.name: field.default for field in _fields(kind)}


def _fields(kind: type[Method[Any]]) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(kind.Settings)


def _block(kind: type[Method[Any]], prompts: str, words: Sequence[str]) -> str:
    if not trains_on_prompts(kind):
        raise UserError(f"{kind.name} trains on no prompts: leave it out of --prompts {prompts}")
    if _named(words).get("prompts", prompts) != prompts:
        raise UserError(f"--set prompts= contradicts --prompts {prompts}: leave one of them out")
    return prompts


def _named(words: Sequence[str]) -> dict[str, str]:
    """Return `key=value` words by key, as `build_settings` reads them."""
    pairs = (word.partition("=") for word in words)
    return {key.strip().replace("-", "_"): value.strip() for key, _, value in pairs}
