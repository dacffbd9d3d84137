"""Prompts and captions that the text encoder has no room for are known before the first fit."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedConfig

from actionbench.diffusion.lengths import check_texts, lengths_of, prompt_length
from actionbench.errors import UserError
from actionbench.files.models import resolve_model
from actionbench.method import Method
from actionbench.plugins.tiny import load_tiny, tiny_task
from actionbench.registry import get_method
from actionbench.runs.campaign import Setup
from actionbench.runs.doctor import check_prompts
from actionbench.runs.options import RunOptions
from actionbench.settings import build_settings
from actionbench.suite.items import SLOT, ActionTask, Exemplar, Item, paper_subjects
from tests.conftest import Done
from tests.helpers.photographs import make_folder, write_suite
from tests.helpers.small_run import Brightness, small_suite

PROMPT = "{subject} {action}"
LONG = "raises both arms up high into the air and shouts out loud for joy with all the crowd"


def described(task: ActionTask, words: str) -> ActionTask:
    return replace(task, action=replace(task.action, description=words))


def captioned(task: ActionTask, template: str) -> ActionTask:
    first: Exemplar = replace(task.exemplars[0], template=template)
    return replace(task, exemplars=(first, *task.exemplars[1:]))


def test_what_is_counted_is_what_the_backbone_sees(tiny_model: Path) -> None:
    lengths, backbone = lengths_of(tiny_model), load_tiny(tiny_model)
    assert lengths.length == backbone.length == 32
    for prompt in ("", "A panda", "A panda with Zoë's hat, twice"):
        (count,) = lengths.count([prompt])
        tokens = backbone.tokenize(prompt).ids
        assert tokens[count + 1] == backbone.pipeline.tokenizer.eos_token_id
        (own,) = lengths.count([prompt + " sits"])
        assert own == len(backbone.pipeline.tokenizer(prompt + " sits").input_ids) - 2


def made(name: str, *words: str) -> Method[Any]:
    kind = get_method(name)
    return kind(build_settings(kind.Settings, {}, words))


def test_a_method_that_loses_the_action_is_refused(tiny_model: Path) -> None:
    """Textual Inversion's prompts hold an identifier in place of the description."""
    subjects, tasks = paper_subjects()[:3], [described(tiny_task(), f"{LONG} {LONG}")]
    text, token = (made(name) for name in ("stable-diffusion", "textual-inversion"))
    with pytest.raises(UserError) as raised:
        check_texts(tiny_model, PROMPT, text, tasks, subjects)
    message = str(raised.value)
    assert message.startswith(
        "stable-diffusion: the text encoder takes 32 tokens and drops the action of 3 longer "
        "texts: prompt of boy cheer ("
    )
    assert message.endswith("); shorten them") and "\n" not in message
    assert check_texts(tiny_model, PROMPT, token, tasks, subjects) == []
    late = f"{{subject}} with {LONG} {LONG} {{action}}"
    with pytest.raises(UserError, match=r"textual-inversion: .* drops the action of 3 "):
        check_texts(tiny_model, late, token, [tiny_task()], subjects)


def test_words_behind_the_action_are_a_note(tiny_model: Path) -> None:
    subjects, task = paper_subjects()[:1], tiny_task()
    by_caption = made("p-plus", "prompts=caption")
    behind = captioned(task, f"a person {SLOT} {LONG} {LONG}")
    (line,) = check_texts(tiny_model, PROMPT, by_caption, [behind], subjects)
    assert "p-plus: the text encoder takes 32 tokens and drops last words of 1 " in line
    assert "caption of cheer-0 (" in line
    with pytest.raises(UserError, match=r"drops the action of 1 .*caption of cheer-0"):
        lost = captioned(task, f"{LONG} {LONG} {SLOT}")
        check_texts(tiny_model, PROMPT, by_caption, [lost], subjects)
    by_template = made("p-plus", "prompts=template")
    assert check_texts(tiny_model, PROMPT, by_template, [behind], subjects) == []
    states = [f.state for f in check_prompts([by_caption], tiny_model, PROMPT, [behind], subjects)]
    assert states == ["warn"]
    states = [f.state for f in check_prompts([by_caption], tiny_model, PROMPT, [lost], subjects)]
    assert states == ["fail"]


def test_a_plan_is_refused_before_the_first_fit(tiny_model: Path, tmp_path: Path) -> None:
    suite = small_suite(tmp_path)
    long = replace(suite, actions=(replace(suite.actions[0], description=f"{LONG} {LONG}"),))
    long.__dict__["tasks"] = {a.name: replace(suite.tasks[a.name], action=a) for a in long.actions}
    options = RunOptions(runs=tmp_path / "runs", device="cpu")
    setup = Setup(options, long, resolve_model(str(tiny_model)), Brightness(long))
    with pytest.raises(UserError, match=r"stable-diffusion: .* drops the action of 3 "):
        setup.plan(get_method("stable-diffusion"))
    setup.plan(get_method("textual-inversion"))


def test_an_import_and_a_dry_run_say_which_captions_are_too_long(
    typed: Callable[..., Done], tiny_model: Path, tmp_path: Path
) -> None:
    source = make_folder(tmp_path / "source")
    for number, photograph in enumerate(source.rglob("*.jpg")):
        behind = f" {LONG}" * 2 if number == 0 else ""
        photograph.with_suffix(".txt").write_text(f"a man {{}}{behind}", "utf-8")
    suite = write_suite(tmp_path)
    suite.write_text(suite.read_text("utf-8") + f"model: {tiny_model}\n", "utf-8")
    done = typed(
        *("data", "import", source, "--out", tmp_path / "mine", "--suite", suite, "--count", "any")
    )
    assert done.returncode == 0, done.stderr
    said = "the text encoder takes 32 tokens and drops last words of 1 longer texts: caption of "
    assert f"note: {said}" in done.stdout
    dry = typed(
        *("run", "--suite", tmp_path / "mine", "--method", "p-plus", "--set", "prompts=caption"),
        *("--judge", "puppet", "--runs", tmp_path / "runs", "--dry-run"),
    )
    assert dry.returncode == 0 and f"note: p-plus: {said}" in dry.stderr


def test_many_actions_take_one_pass(tiny_model: Path) -> None:
    """Only pairs near the limit are counted together: 2,000 actions with 23 subjects."""
    actions = [
        replace(tiny_task().action, name=f"a{n}", description=f"sits {n}") for n in range(2000)
    ]
    assert lengths_of(tiny_model).cut_prompts(PROMPT, actions, paper_subjects(), True) == []


def test_a_tokenizer_without_a_length(tiny_model: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    file = model / "tokenizer" / "tokenizer_config.json"
    facts = json.loads(file.read_text())
    file.write_text(json.dumps({k: v for k, v in facts.items() if k != "model_max_length"}))
    backbone, whole = load_tiny(model), load_tiny(tiny_model)
    assert backbone.pipeline.tokenizer.model_max_length > sys.maxsize
    assert backbone.length == 32
    assert backbone.tokenize("A panda {}") == whole.tokenize("A panda {}")
    (one,), (two,) = (list(b.generate(["A panda"], [1])) for b in (backbone, whole))
    assert one.tobytes() == two.tobytes()

    with pytest.raises(UserError, match=r"add it to text_encoder/config.json"):
        prompt_length(backbone.pipeline.tokenizer, PreTrainedConfig(), "x")
    whole.pipeline.tokenizer.pad_token = None
    with pytest.raises(UserError, match="its tokenizer has no pad_token_id"):
        type(backbone)(whole.pipeline, name="x", fingerprint="x", preset=None)


def test_items_prompts_are_the_ones_that_are_counted(tiny_model: Path) -> None:
    task, (subject, *_) = described(tiny_task(), f"{LONG} {LONG}"), paper_subjects()
    (cut,) = lengths_of(tiny_model).cut_prompts(PROMPT, [task.action], [subject], True)
    item = Item(task.action, subject, 0, prompt=PROMPT)
    tokenizer = load_tiny(tiny_model).pipeline.tokenizer
    assert cut.tokens == len(tokenizer(item.described_prompt).input_ids)
    with torch.no_grad():
        assert cut.loses_action
