"""The training of the puppets: the loop, the captions, fresh actions, and a run of everything."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from actionbench.errors import UserError
from actionbench.puppets import actions as actions_module
from actionbench.puppets.actions import APART, OFFSET, bone_angles, distance, fresh_actions
from actionbench.puppets.poses import ACTIONS, FREE_ARMS, KNOWN, Pose, solve
from actionbench.puppets.training import loop
from actionbench.puppets.training.begin import begin_with
from actionbench.puppets.training.captions import (
    TEMPLATES,
    WORD_LIMIT,
    Facts,
    caption,
    contrary,
    filled_template,
    length,
    participle,
    proof,
)
from actionbench.puppets.training.corpus import LIMBWISE, Corpus, draw_many, shares
from actionbench.puppets.training.keeping import changes, keep, restore
from actionbench.puppets.training.limbs import BONES, WordReader, directions
from actionbench.puppets.training.recipe import Recipe, changed
from actionbench.puppets.training.stages import Training
from actionbench.puppets.training.text import clip_folder, tokenize
from actionbench.suite.items import Sampling
from evaluation.judges import acceptance, check

SMALL = replace(Recipe().scaled(0.001), clip_batch=8, diffusion_batch=4, control_batch=4)


# --- the loop -----------------------------------------------------------------------------------


def _stage(folder: Path, steps: int = 12, wait: float = 0.0) -> loop.Stage:
    import time

    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.Conv2d(8, 1, 3))
    net = net.to(memory_format=torch.channels_last)
    average = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.Conv2d(8, 1, 3))
    average.load_state_dict(net.state_dict())

    def losses(step: int) -> dict[str, torch.Tensor]:
        time.sleep(wait)
        pixels = loop.own(torch.randn(4, 3, 8, 8, generator=loop.generator_of(1, step)))
        return {"loss": net(pixels).square().mean(), "_seen": pixels.mean()}

    return loop.Stage(
        "small", folder / "small", {"net": net}, losses, loop.Schedule(steps, 1e-2, 3, 4),
        {"net": average.requires_grad_(False)},
    )  # fmt: skip


def test_a_training_that_was_killed_ends_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop.train(_stage(tmp_path / "whole"))
    program = (
        "from pathlib import Path; from tests.puppets import test_training as t; "
        "t.loop.CHECKPOINT_SECONDS = 0.0; "
        f"t.loop.train(t._stage(Path({str(tmp_path / 'killed')!r}), wait=0.3))"
    )
    kept = tmp_path / "killed" / "small.safetensors"
    process = subprocess.Popen([sys.executable, "-c", program], cwd=Path(__file__).parents[2])
    while not (kept.exists() and load_file(kept)["step"] >= 3):
        assert process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = loop.train(_stage(tmp_path / "killed"))
    assert 0 < done < 12
    whole, resumed = (load_file(tmp_path / n / "small.safetensors") for n in ("whole", "killed"))
    for name in whole:
        if name != "seconds":
            assert torch.equal(whole[name], resumed[name]), name


def test_a_training_goes_on_from_what_is_kept_of_it(tmp_path: Path) -> None:
    loop.train(_stage(tmp_path / "first", steps=6))
    kept = loop.slim(tmp_path / "first" / "small.safetensors")
    assert {value.dtype for value in kept.values() if value.dim()} == {torch.float16}
    assert not [name for name in kept if name.startswith(("net.", "optimizer."))]
    (tmp_path / "second").mkdir()
    save_file(kept, tmp_path / "second" / "small.safetensors")
    stage = _stage(tmp_path / "second")
    assert loop.train(stage) == 6
    first, second = (
        load_file(tmp_path / name / "small.safetensors")["average_net.0.weight"]
        for name in ("first", "second")
    )
    assert 0 < (first - second).abs().max() < 0.05, "the rate rises again from nothing"


def _in_two_processes(program: str) -> None:
    """Run a program as `torchrun` would with two processes."""
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=Path(__file__).parents[2],
            env={**os.environ, **place, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(2)
    ]
    assert [process.wait() for process in processes] == [0, 0]


def test_two_processes_train_like_one(tmp_path: Path) -> None:
    loop.train(_stage(tmp_path / "alone"))
    _in_two_processes(
        "from pathlib import Path; from torch import distributed; "
        "from tests.puppets import test_training as t; "
        "distributed.init_process_group('gloo'); "
        f"t.loop.train(t._stage(Path({str(tmp_path / 'together')!r}))); "
        "distributed.destroy_process_group()"
    )
    alone, together = (
        load_file(tmp_path / name / "small.safetensors") for name in ("alone", "together")
    )
    assert together["step"] == 12
    for name, value in alone.items():
        if name.startswith(("net.", "average_net.")):
            assert torch.allclose(value, together[name], atol=1e-4), name
    rows = (tmp_path / "together" / "small.log").read_text().splitlines()
    assert len(rows) == 1, "the first process writes the log"


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def test_half_the_precision_gives_nearly_the_same_gradients() -> None:
    attention = nn.MultiheadAttention(16, 2, batch_first=True)
    x = torch.randn(4, 6, 16, generator=loop.generator_of(1, 2))
    gradients = []
    for precision in ("float32", "bfloat16"):
        attention.zero_grad()
        with loop.arithmetic(precision, torch.device("cpu")):
            loss = attention(x, x, x)[0].float().square().mean()
        loss.backward()
        gradients.append(attention.in_proj_weight.grad.clone())
    assert gradients[1].dtype == torch.float32
    assert not torch.equal(*gradients)
    assert torch.allclose(*gradients, atol=0.05 * float(gradients[0].abs().max()))


def test_the_rate_can_be_cut_while_a_training_runs() -> None:
    long, cut = loop.Schedule(1000, 1.0, 10, 100), loop.Schedule(300, 1.0, 10, 100)
    assert [long.rate(s) for s in range(200)] == [cut.rate(s) for s in range(200)]
    assert long.rate(0) == pytest.approx(0.1)
    assert cut.rate(299) < 0.01 < cut.rate(250) < long.rate(250)


def test_a_finished_training_does_nothing_and_logs_its_seconds(tmp_path: Path) -> None:
    assert loop.train(_stage(tmp_path)) == 12
    assert loop.train(_stage(tmp_path)) == 0
    row = json.loads((tmp_path / "small.log").read_text().splitlines()[-1])
    assert row["step"] == 12 and {"seconds", "rate", "loss", "seen", "norm"} <= set(row)


# --- captions -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return draw_many("pretraining", Recipe(), (7,), 400).rows


def test_no_caption_is_a_template_and_every_word_of_theirs_is_known(
    rows: list[dict[str, object]],
) -> None:
    weights = shares(rows, Recipe())

    def draw(rng: np.random.Generator) -> str:
        row = rows[int(rng.choice(len(rows), p=weights))]
        facts = Facts(row["name"], tuple(row["looks"]), row["does"], row["where"])  # type: ignore[arg-type]
        return caption(facts, rng)

    shown = proof(draw, 12_000)
    assert not shown.filled
    assert not shown.rare(), shown.shares
    assert shown.longest <= 20


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize(
    "filler", ["Batman", "panda", "waves", "waving", "old man raises both arms"]
)
def test_a_filled_template_is_seen_wherever_it_stands(template: str, filler: str) -> None:
    whole_names = template != "a person {}" or filler.startswith("wav")
    assert bool(filled_template(f"in a park {template.format(filler)}")) >= whole_names


@pytest.mark.parametrize(
    "text",
    ["a person with red hair waves", "photo of the park with a person who waves",
     "my picture: an old man jumps", "a man walking, a bright photo", "a person in a park"],
)  # fmt: skip
def test_other_forms_of_the_same_words_are_no_templates(text: str) -> None:
    assert not filled_template(text)


def test_captions_depend_on_the_generator_alone_and_are_partial() -> None:
    facts = Facts(looks=("red hair", "a green shirt"), does="waves", where="in a park")
    texts = [caption(facts, np.random.default_rng(seed)) for seed in range(300)]
    assert texts == [caption(facts, np.random.default_rng(seed)) for seed in range(300)]
    assert len(set(texts)) > 150
    assert any("wav" not in text for text in texts) and any("park" not in text for text in texts)
    assert max(map(length, texts)) <= 20


@pytest.mark.parametrize(
    ("verb", "expected"),
    [
        ("waves", "waving"), ("runs", "running"), ("lies down", "lying down"), ("has", "having"),
        ("puts", "putting"), ("crosses", "crossing"), ("squats", "squatting"), ("flies", "flying"),
        ("stretches", "stretching"), ("kneels", "kneeling"), ("bows", "bowing"), ("does", "doing"),
    ],
)  # fmt: skip
def test_verbs_become_participles(verb: str, expected: str) -> None:
    assert participle(verb) == expected


# --- fresh actions ------------------------------------------------------------------------------


def test_fresh_actions_are_the_same_for_a_seed_and_apart() -> None:
    actions = fresh_actions(48, 5)
    assert fresh_actions(20, 5) == actions[:20]
    assert fresh_actions(20, 6) != actions[:20]
    angles = np.stack([bone_angles(solve(a.pose, 0.8, 1.0, 0.5, 0.92)) for a in actions])
    named = [pose for variants in ACTIONS.values() for pose in variants]
    named += [pose for known in KNOWN.values() for pose in known[1]]
    others = np.stack([bone_angles(solve(pose, 0.8, 1.0, 0.5, 0.92)) for pose in named])
    for number, own in enumerate(angles):
        assert distance(own, np.delete(angles, number, 0)).min() >= APART
        assert distance(own, others).min() >= APART
    assert len({a.description for a in actions}) == 48
    assert all(1 <= len(a.description.split(", ")) <= 2 for a in actions)
    assert actions[0].name == "a000" and actions[47].action.name == "a047"


@pytest.mark.parametrize(("count", "words"), [(0, "at least one"), (1001, "at most 1,000")])
def test_suites_that_cannot_be_are_refused(count: int, words: str) -> None:
    with pytest.raises(UserError, match=words):
        fresh_actions(count, 1)


def test_where_the_states_are_used_up_limbs_point_between_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With few tries, so that it does not take the time of a thousand."""
    monkeypatch.setattr(actions_module, "TRIES", 60)
    made = list(islice(actions_module._actions(2), 150))
    angles = np.stack([bone_angles(solve(a.pose, 0.8, 1.0, 0.5, 0.92)) for a in made])
    for number, own in enumerate(angles):
        assert distance(own, np.delete(angles, number, 0)).min() >= APART
    assert [a.name for a in made] == [f"a{number:03d}" for number in range(150)]
    assert all(1 <= len(a.description.split(", ")) <= 2 for a in made)
    between = [a for a in made if not _in_states(a.pose)]
    assert 10 < len(between) < 140 and made.index(between[0]) > 20


def _in_states(pose: Pose) -> bool:
    return all(
        any(abs(side * limb.upper - u) <= OFFSET and abs(side * limb.lower - v) <= OFFSET
            for u, v in FREE_ARMS.values())
        for side, limb in ((-1, pose.right_arm), (1, pose.left_arm))
    )  # fmt: skip


def test_a_seed_that_gives_no_more_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions_module, "TRIES", 20)
    monkeypatch.setattr(actions_module, "APART", 90.0)
    with pytest.raises(UserError, match=r"gives \d+ actions that can be told apart"):
        list(actions_module._actions(1))


def test_a_suite_of_one() -> None:
    assert len(fresh_actions(1, 3)) == 1


# --- the recipe and a run of everything -----------------------------------------------------------


def test_settings_of_the_recipe() -> None:
    recipe = changed(Recipe(), ["four_legged=0.5", "unet_channels=32,64", "train_text_along=true"])
    assert (recipe.four_legged, recipe.unet_channels) == (0.5, (32, 64))
    assert recipe.train_text_along and recipe.hash != Recipe().hash
    assert changed(Recipe(), ["precision=float32"]).precision == "float32"
    for wrong in ("legs=2", "seed", "seed=two", "precision=float16"):
        with pytest.raises(UserError):
            changed(Recipe(), [wrong])


def test_shares_follow_the_recipe(rows: list[dict[str, object]]) -> None:
    for names in (0.1, 0.4):
        weights = shares(rows, replace(Recipe(), names=names))
        named = np.array([row["group"] == "named" for row in rows])
        assert weights[named].sum() == pytest.approx(names, abs=0.1)


def test_names_can_be_kept_out_of_poses_described_limb_by_limb(
    rows: list[dict[str, object]],
) -> None:
    usual, apart = (shares(rows, Recipe(), limbwise) for limbwise in (1.0, 0.0))
    named = np.array([row["group"] != "person" for row in rows])
    limbs = np.array([row["kind"] in LIMBWISE for row in rows])
    assert usual[named & limbs].sum() > 0.03 and apart[named & limbs].sum() == 0
    # Not all kinds of pictures are among so few.
    assert apart[named].sum() == pytest.approx(usual[named].sum(), abs=0.01)
    assert np.allclose(apart[~named], usual[~named], rtol=0.02)


def test_a_name_can_be_borrowed_where_a_nameless_body_is_described_limb_by_limb(
    rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    corpus = Corpus(tmp_path, np.empty((0, 18, 3)), rows, "")
    every = range(len(rows))
    names = {row["name"] for row in rows if row["name"]}
    plain, lent, again = (
        corpus.captions(every, np.random.default_rng(3), Recipe(), share) for share in (0, 1, 1)
    )
    assert lent == again and not any(map(filled_template, lent))
    # "a panda" may be "the nice panda"
    words = re.compile("|".join(rf"\b{re.escape(name.split(' ', 1)[-1])}\b" for name in names))
    for row, own, other in zip(rows, plain, lent, strict=True):
        named = [bool(words.search(text)) for text in (own, other)]
        if not row["name"] and row["kind"] in LIMBWISE:
            assert named == [False, True] and len(other.split()) > 2, other
        else:
            assert named == [bool(row["name"])] * 2, other


def test_a_contrary_pose_differs_and_stays_among_the_words_of_poses(
    rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    does, other = "right arm up, left arm out, knees bent", "right arm low, left leg out"
    seen = {contrary(does, other, rng) for _ in range(200)}
    assert seen == {
        other,
        "left arm up, right arm out, knees bent",
        "right arm low, left arm out, knees bent",
    }
    assert contrary("waves", "jumps", rng) == "jumps"
    corpus = Corpus(tmp_path, np.empty((0, 18, 3)), rows, "")
    own, others, differ = corpus.contrary(range(len(rows)), (1, 2), Recipe())
    assert 0.5 < differ.mean() < 1
    assert [a != b for a, b in zip(own, others, strict=True)] == differ.tolist()
    four_legged = np.array([row["four_legged"] for row in rows])
    assert not differ[four_legged].any(), "their poses have several names"
    assert corpus.contrary(range(9), (1, 2), Recipe())[0] == own[:9]


def test_where_bones_point_is_read_from_the_words_that_say_so() -> None:
    torch.manual_seed(0)
    arm = BONES.index((2, 3))  # the right upper arm
    angles = torch.linspace(0.0, 6.0, 16)
    points = torch.rand(16, 18, 3, generator=torch.Generator().manual_seed(1)).add(0.1)
    points[:, 3, :2] = points[:, 2, :2] + 0.2 * torch.stack([angles.cos(), angles.sin()], 1)
    points[:, 4:, 2] = 0.0  # of all others, only the neck's bones are seen
    wanted, seen = directions(points)
    assert torch.allclose(wanted[:, arm], torch.stack([angles.cos(), angles.sin()], 1), atol=1e-5)
    assert seen[:, arm].all() and not seen[:, BONES.index((3, 4))].any()

    words = torch.nn.functional.one_hot(torch.arange(16), 16).float()
    states = torch.cat([torch.randn(16, 5, 16), words[:, None]], 1)
    reader = WordReader(16)
    optimizer = torch.optim.AdamW(reader.parameters(), lr=1e-2)
    first = reader.loss(states, points).item()
    for _ in range(150):
        optimizer.zero_grad()
        reader.loss(states, points).backward()
        optimizer.step()
    assert first > 0.4 and reader.loss(states, points) < 0.05
    points[:, 4:, :2] += 0.3  # what is not seen is not asked
    assert reader.loss(states, points) < 0.05
    points[..., 2] = 0.0
    assert reader.loss(states, points) == 0.0


def test_a_diffusion_model_begins_with_one_of_another_text_encoder(tmp_path: Path) -> None:
    work = tmp_path / "work"
    first = Training(SMALL, work)
    with pytest.raises(UserError, match="lacks"):
        keep(first, tmp_path / "kept")
    unet = first.diffusion[0]
    keep(first, tmp_path / "kept")
    second = Training(replace(SMALL, clip_rate=3e-3, clip_steps=12), work)
    place = begin_with(second, tmp_path / "kept")
    with pytest.raises(UserError, match="is there already"):
        begin_with(second, tmp_path / "kept")
    begun, text, step = second.latest()
    assert step == 0

    captions = second.corpus.captions(range(64), np.random.default_rng(5), SMALL)
    ids = tokenize(second.clip[1], captions)
    noise = torch.randn(64, *load_file(next(work.glob("latents-*")))["latents"].shape[1:])
    times = torch.full((64,), 500)
    with torch.no_grad():
        old_states, new_states = (t(ids).last_hidden_state for t in (first.text, text))
        wanted = unet(noise, times, old_states).sample
        mapped = begun(noise, times, new_states).sample
        unmapped = unet(noise, times, new_states).sample
    assert (mapped - wanted).abs().mean() < 0.3 * (unmapped - wanted).abs().mean()
    place.unlink()
    for file in (tmp_path / "kept").glob("diffusion-*"):
        file.unlink()
    with pytest.raises(UserError, match="0 diffusion models and 1 text encoders"):
        begin_with(second, tmp_path / "kept")

    # A text encoder under way goes on with the numbers that its tokens had.
    shutil.rmtree(clip_folder(second.recipe, second.corpus, work))
    kept = keep(Training(second.recipe, work), tmp_path / "under-way")
    (tokens,) = kept.glob("clip-*.tokenizer")
    (checkpoint,) = kept.glob("clip-*.safetensors")
    assert tokens.stem == checkpoint.stem and not list(kept.glob("clip-*.model"))
    place = work / tokens.name
    place.rename(tmp_path / "aside")
    with pytest.raises(UserError, match="has lost its tokenizer"):
        _ = Training(second.recipe, work).clip
    (tmp_path / "aside").rename(place)
    again = Training(second.recipe, work).clip[1]
    assert again.get_vocab() == second.clip[1].get_vocab()


def test_prompts_of_people_leave_room_for_their_limbs() -> None:
    looks = ("blue hair", "a grey shirt", "grey trousers", "a goatee")
    words = "right arm high, left arm bent down, left knee up"
    prompt = acceptance.person_prompt(looks, words)
    assert prompt.endswith(words) and length(prompt) <= WORD_LIMIT
    assert "a grey shirt" not in prompt and "blue hair" in prompt
    assert acceptance.person_prompt(looks, "left arm up").endswith("a goatee left arm up")


def test_animals_are_asked_for_no_pose_that_their_words_have_on_four_legs() -> None:
    pairs = acceptance.known_pairs(800)
    assert len(pairs) == 800 and pairs[:5] == acceptance.known_pairs(5)
    asked = {(pose.description, subject.category) for pose, subject in pairs}
    for words in ("stands", "walks", "runs"):
        assert (words, "animal") not in asked and (words, "human") in asked
    assert ("jumps", "animal") in asked
    counts = [pairs.count(pair) for pair in set(pairs)]
    assert max(counts) - min(counts) <= 1


def test_a_thousandth_of_the_recipe_runs_is_not_redone_and_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One test, because the training is the long part of it."""
    from actionbench.puppets.training.look import look
    from actionbench.puppets.training.stages import assemble_latest, pretrain
    from actionbench.puppets.training.whole import pretrain_whole

    work, out, readers = tmp_path / "work", tmp_path / "out", tmp_path / "readers"
    assert pretrain(out, work, SMALL, until="decoder", only=True) is None
    assert not list(work.glob("diffusion-*"))
    assert pretrain_whole(out, readers, work, SMALL, factor=1e-4) == out
    facts = json.loads((out / "puppet-diffusion" / "actionbench.json").read_text())
    assert facts["recipe_hash"] == SMALL.hash
    stamps = {path: path.stat().st_mtime_ns for path in work.rglob("*.safetensors")}
    pretrain_whole(out, readers, work, SMALL, factor=1e-4)
    assert stamps == {path: path.stat().st_mtime_ns for path in work.rglob("*.safetensors")}
    assemble_latest(Training(SMALL, work), tmp_path / "latest")
    _goes_on_elsewhere(Training(SMALL, work), tmp_path)
    look(Training(SMALL, work), tmp_path / "sheet.png")

    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / "latest", dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline("a panda waves", num_inference_steps=2).images[0].size == (64, 64)
    assert len(pipeline.tokenizer("person and")["input_ids"]) == 4
    _is_checked(out / "puppet-diffusion", readers, tmp_path / "gates", monkeypatch)


def _goes_on_elsewhere(training: Training, tmp_path: Path) -> None:
    kept, elsewhere = keep(training, tmp_path / "kept"), tmp_path / "elsewhere"
    for config in kept.rglob("*.json"):
        assert str(tmp_path) not in config.read_text("utf-8"), "no place of this machine"
    with pytest.raises(UserError, match="holds no kept training"):
        restore(training.work, elsewhere)
    parts = "autoencoder, decoder, CLIP, ControlNet; diffusion and two readers, each with its log"
    assert len(restore(kept, elsewhere)) == 10, parts
    assert restore(kept, elsewhere) == []
    assert changes(kept, replace(SMALL, diffusion_steps=99)) == ""
    assert "another limb_maps, unet_heads: such parts" in changes(
        kept, replace(SMALL, limb_maps=0.1, unet_heads=8)
    )
    other = Training(SMALL, elsewhere)
    theirs, _, step = other.latest()
    assert step == SMALL.diffusion_steps
    ours = training.latest()[0].state_dict()
    for name, value in theirs.state_dict().items():
        assert torch.equal(value, ours[name].half().float()), name
    assert other.decoder_done and not list(elsewhere.glob("vae-*.safetensors"))
    for name in ("keypoints", "subjects"):
        (reader,) = elsewhere.glob(f"{name}-*.safetensors")
        assert load_file(reader)["step"] == load_file(training.work / reader.name)["step"]
    _is_trained_in_two_processes(elsewhere)


def _is_trained_in_two_processes(work: Path) -> None:
    """A ControlNet's batches are shared, and the first process writes it."""
    recipe, before = replace(SMALL, control_rate=2e-3), set(work.glob("controlnet-*"))
    _in_two_processes(
        "from dataclasses import replace; from pathlib import Path; "
        "from tests.puppets.test_training import SMALL; "
        "from actionbench.puppets.training.stages import train_together; "
        f"train_together(replace(SMALL, control_rate=2e-3), Path({str(work)!r}), 'controlnet')"
    )
    together = Training(recipe, work).controlnet.state_dict()
    for made in set(work.glob("controlnet-*")) - before:
        made.rename(work / f"together-{made.name}")
    alone = Training(recipe, work).controlnet.state_dict()
    name = "controlnet_mid_block.weight"  # it begins as zeros
    assert (alone[name] - together[name]).norm() < 0.2 * alone[name].norm()


def _is_checked(model: Path, readers: Path, gates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Accept a base model, from its pictures to the table, and again from what was kept."""
    monkeypatch.setattr(acceptance, "SAMPLING", Sampling(steps=1, guidance_scale=2.0))
    monkeypatch.setattr(check, "FROZEN", gates / "frozen.json")
    choices = check.Choices(
        gates, str(model), readers=readers, n=3, pictures=4, first=model, skip_judge=True
    )
    made = check.Check(choices)
    rows = {row.name: row for row in made.rows()}
    assert {
        "text alone, action, development", "text alone, subject, development, animals",
        "text alone, lost subjects seen as somebody, development",
        '"a photo of" against bare, action', "text alone, action, the eight",
        "base, subject", "base, pose", "base, free pose, people", "base, free pose, animals",
        "ControlNet, action, development", "Fréchet distance, second world",
        "Fréchet distance, first world", "Fréchet distance, second to first",
        "labels by eye, action", "labels by eye, subject",
    } <= set(rows)  # fmt: skip
    assert rows["labels by eye, action"].passed is False, "not labelled yet"
    assert all(len(check.cells(row)) == len(check.COLUMNS) for row in rows.values())
    table = json.loads(made.write([*rows.values()]).read_text())
    models = {"keypoints", "subjects", "puppet-diffusion", "puppet-controlnet"}
    assert set(table["models"]) == models
    assert {file.name for file in (gates / "labels").iterdir()} == {"actions.png", "page-1.png"}
    with pytest.raises(UserError, match="at least 800 pictures a row"):
        made.freeze([*rows.values()])

    form = gates / "labels.csv"
    form.write_text(form.read_text().replace(",,\n", ",no,no\n"))
    kept = {path: path.stat().st_mtime_ns for path in gates.rglob("*.npy")}
    again = {row.name: row for row in check.Check(choices).rows()}
    assert kept == {path: path.stat().st_mtime_ns for path in gates.rglob("*.npy")}
    assert again["labels by eye, action"].n == 3
    assert {name: row for name, row in again.items() if "by eye" not in name} == {
        name: row for name, row in rows.items() if "by eye" not in name
    }
