"""The judges for photographs, on tiny models of their real classes."""

from __future__ import annotations

import io
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from actionbench.errors import UserError
from actionbench.judge import Judge
from actionbench.photos.keypoints import KeypointReader, from_coco
from actionbench.registry import make_judge
from actionbench.runs.canary import canary_images
from actionbench.suite.items import NONE, Action, Item, Subject
from actionbench.suite.suite import Suite, get_suite
from evaluation.judges.clip import ClipJudge, _noun, _seen
from evaluation.judges.pose import Bodies, similarity
from evaluation.judges.thresholds import balancing_threshold
from evaluation.judges.vqa import VqaReader, answer_tokens
from tests.helpers.tiny_judges import (
    byte_tokenizer,
    tiny_clip,
    tiny_detector,
    tiny_llava,
    tiny_qwen,
    tiny_siglip,
    tiny_vitpose,
)

SUITE = get_suite("puppets")
IMAGES = canary_images()[:4]
ITEMS = [Item(SUITE.actions[n], SUITE.subjects[5 * n], 0) for n in range(4)]


@pytest.fixture(scope="session")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("networks")
    makers = {
        "clip": tiny_clip, "siglip": tiny_siglip, "qwen": tiny_qwen, "llava": tiny_llava,
        "detector": tiny_detector, "vitpose": tiny_vitpose,
    }  # fmt: skip
    return {name: make(folder / name) for name, make in makers.items()}


def words(networks: dict[str, Path], kind: str) -> list[str]:
    return {
        "clip": [f"model={networks['clip']}"],
        "siglip": [f"model={networks['siglip']}"],
        "vqa": [f"model={networks['qwen']}", "dtype=float32", "exemplars=2", "image_size=56"],
        "llava": [f"model={networks['llava']}", "dtype=float32", "exemplars=1"],
        "pose": [
            f"model={networks['clip']}",
            f"detector={networks['detector']}",
            f"pose_model={networks['vitpose']}",
            "min_score=0",
            "min_visible=0",
        ],
    }[kind]


def build(networks: dict[str, Path], kind: str, *more: str, suite: Suite = SUITE) -> Judge:
    name = {"siglip": "clip", "llava": "vqa"}.get(kind, kind)
    return make_judge(name, suite, [*words(networks, kind), *more])


@pytest.mark.parametrize("kind", ["clip", "siglip", "vqa", "llava", "pose"])
def test_verdicts_do_not_depend_on_the_batch_and_repeat(networks, kind: str) -> None:
    judge = build(networks, kind, "batch_size=3")
    together = judge.judge(IMAGES, ITEMS)
    alone = [judge.judge([image], [item])[0] for image, item in zip(IMAGES, ITEMS)]
    again = build(networks, kind, "batch_size=4").judge(IMAGES[::-1], ITEMS[::-1])[::-1]
    for a, b, c in zip(together, alone, again):
        assert (a.action_seen, a.subject_seen) == (b.action_seen, b.subject_seen)
        for other in (b, c):
            assert a.action_score == pytest.approx(other.action_score, abs=1e-5)
            assert a.subject_score == pytest.approx(other.subject_score, abs=1e-5)
    scores = {round(score, 4) for v in together for score in (v.action_score, v.subject_score)}
    assert len(scores) > 4, "the pictures and questions make a difference"


def altered(folder: Path, out: Path) -> Path:
    """The same network with one weight changed."""
    from safetensors.torch import load_file, save_file

    out.mkdir()
    for file in folder.iterdir():
        (out / file.name).write_bytes(file.read_bytes())
    state = load_file(folder / "model.safetensors")
    name = next(name for name, tensor in state.items() if tensor.is_floating_point())
    state[name] = state[name] + 0.5
    save_file(state, out / "model.safetensors", {"format": "pt"})
    return out


@pytest.mark.parametrize("kind", ["clip", "vqa", "pose"])
def test_the_fingerprint_tells_all_that_decides_a_verdict(networks, kind, tmp_path) -> None:
    own = {"clip": ["model"], "vqa": ["model"], "pose": ["model", "detector", "pose_model"]}[kind]
    places = {"model": "qwen" if kind == "vqa" else "clip", "pose_model": "vitpose"}
    first = build(networks, kind).fingerprint
    others = [
        build(networks, kind, f"{setting}={altered(networks[places.get(setting, setting)], out)}")
        for setting in own
        for out in [tmp_path / setting]
    ]
    change = {
        "clip": ["action_margin=0.2", "subject_margin=0", "dtype=bfloat16"],
        "vqa": ["exemplars=1", "action_threshold=0.4", "subject_threshold=0.4", "image_size=28"],
        "pose": ["subject_margin=0", "animals=false", "whole_image=false", "min_score=0.4"],
    }[kind]
    others += [build(networks, kind, word) for word in change]
    renamed = replace(SUITE, actions=(Action("salute", "salutes twice"), *SUITE.actions[1:]))
    if kind != "pose":
        others.append(build(networks, kind, suite=renamed))
    found = [first, *(judge.fingerprint for judge in others)]
    assert len(set(found)) == len(found)
    copied = tmp_path / "elsewhere"
    copied.mkdir()
    source = networks[places["model"]]
    for file in source.iterdir():
        (copied / file.name).write_bytes(file.read_bytes())
    same = build(networks, kind, f"model={copied}", "batch_size=1")
    assert same.fingerprint == first, "neither the folder's name nor the batch decides anything"


def test_a_missing_model_is_told_with_what_to_download(
    networks, monkeypatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    judge = make_judge("clip", SUITE, ["model=nobody/clip@abc"])
    assert judge.downloads == ("nobody/clip@abc",)
    with pytest.raises(UserError, match="hf download nobody/clip --revision abc"):
        _ = judge.fingerprint
    with pytest.raises(UserError, match="not a whole vqa judge's model: it lacks tokenizer_config"):
        make_judge("vqa", SUITE, [f"model={networks['detector']}"]).judge(IMAGES[:1], ITEMS[:1])
    other = shutil.copytree(networks["detector"], tmp_path / "detector")
    for file in networks["clip"].glob("tokenizer*"):
        shutil.copy(file, other)
    with pytest.raises(UserError, match="is no model of images and text"):
        make_judge("vqa", SUITE, [f"model={other}"]).judge(IMAGES[:1], ITEMS[:1])


# CLIP


def test_clips_probabilities_are_the_softmax_of_averaged_prompts(networks) -> None:
    judge = build(networks, "clip")
    reader = judge.reader
    model, normal = reader.model, torch.nn.functional.normalize
    from evaluation.judges.clip import ACTION_PROMPTS

    rows = []
    with torch.inference_mode():
        for action in SUITE.actions:
            texts = [prompt.format(action.description) for prompt in ACTION_PROMPTS]
            ids = reader.tokenizer(texts, padding=True, return_tensors="pt")
            each = normal(model.get_text_features(**ids).pooler_output, dim=-1)
            rows.append(normal(each.mean(0), dim=-1))
        pixels = reader.images(IMAGES[0], return_tensors="pt").pixel_values
        image = normal(model.get_image_features(pixels).pooler_output, dim=-1)[0]
        wanted = (model.logit_scale.exp() * torch.stack(rows) @ image).softmax(0)
    verdict = judge.judge(IMAGES[:1], ITEMS[:1])[0]
    assert verdict.action_score == pytest.approx(float(wanted[0]), abs=1e-5)


def test_none_is_seen_where_the_first_does_not_beat_the_second_by_the_margin() -> None:
    names = ["a", "b", "c"]
    assert _seen(np.array([0.5, 0.3, 0.2]), names, 0.19) == "a"
    assert _seen(np.array([0.5, 0.3, 0.2]), names, 0.21) == NONE
    assert _seen(np.array([1.0]), ["only"], 0.5) == "only"
    assert [_noun(p) for p in ("A polar bear", "An old man", "Batman")] == [
        "a polar bear", "an old man", "Batman",
    ]  # fmt: skip


def test_the_margin_that_balances_errors_is_between_right_and_wrong_answers() -> None:
    judge = ClipJudge(get_suite("puppets-dev"))
    scores = np.array([[0.8, 0.1, 0.05, 0.05], [0.1, 0.7, 0.1, 0.1]])
    # Right answers stand 0.7 and 0.6 apart; without the right one, 0.25 and 0.
    margin = judge.suggest(scores, np.array([0, 1]))["action_margin"]
    assert margin == pytest.approx((0.6 + 0.25) / 2, abs=1e-3)


# VQA


def test_the_answer_is_yes_against_no_over_all_their_spellings(networks) -> None:
    tokenizer = byte_tokenizer(["</s>"])
    yes, no = answer_tokens(tokenizer, "yes"), answer_tokens(tokenizer, "no")
    assert len(yes) == 6 and len(no) == 4, "NO is two tokens here, of which none is the word"
    reader = build(networks, "vqa").reader
    question = [{"type": "image", "image": IMAGES[0]}, {"type": "text", "text": "A panda?"}]
    inputs = reader.processor.apply_chat_template(
        [{"role": "user", "content": question}],
        add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",
    )  # fmt: skip
    with torch.inference_mode():
        probabilities = reader.model(**inputs).logits[0, -1].softmax(0)
    p, q = float(probabilities[yes].sum()), float(probabilities[no].sum())
    assert reader.ask([question]) == [pytest.approx(p / (p + q), abs=1e-6)]


def test_questions_show_the_exemplars_but_those_left_out(networks) -> None:
    judge = build(networks, "vqa")
    exemplars = SUITE.tasks["salute"].exemplars
    without = judge.without([exemplars[0].id])
    assert without.reader is judge.reader and without.fingerprint == judge.fingerprint
    for other, shown in ((judge, exemplars[:2]), (without, exemplars[1:3])):
        wanted = [judge._fitted(exemplar.image).tobytes() for exemplar in shown]
        assert [image.tobytes() for image in other._shown("salute")] == wanted
    a, b = (j.judge(IMAGES[:1], ITEMS[:1])[0] for j in (judge, without))
    assert a.action_score != b.action_score and a.subject_score == b.subject_score


def test_a_model_without_a_chat_template_is_refused(tmp_path: Path) -> None:
    from actionbench.files.models import resolve_network

    folder = tiny_qwen(tmp_path / "base", chat=None)
    with pytest.raises(UserError, match="no chat template"):
        VqaReader(resolve_network(str(folder), "model"), "cpu", "float32", 1)


# Keypoints and poses


def test_cocos_points_become_openposes() -> None:
    points = np.stack([np.linspace(0.1, 0.9, 17), np.linspace(0.2, 0.8, 17)], axis=1)
    scores = np.linspace(0.4, 1.0, 17)
    scores[5], points[16] = 0.35, (1.2, 0.5)
    found = from_coco(points, scores, min_visible=0.4)
    assert found.shape == (18, 3) and found.dtype == np.float32
    assert found[1, :2] == pytest.approx((points[5] + points[6]) / 2), "the shoulders' middle"
    assert found[1, 2] == found[5, 2] == 0, "the left shoulder is hardly seen: the neck neither"
    assert found[2, :2] == pytest.approx(points[6]) and found[2, 2] == pytest.approx(scores[6])
    assert found[10, 2] == 0 and found[10, 0] == 1, "outside of the image"
    assert [found[n, 0] for n in (14, 15, 16, 17)] == pytest.approx(points[[2, 1, 4, 3], 0])


def test_the_reader_names_the_image_without_a_person(networks) -> None:
    models = {"detector": str(networks["detector"]), "pose_model": str(networks["vitpose"])}
    reader = KeypointReader(**models, min_score=1.0)
    assert reader.find(IMAGES[:2]) == [None, None]
    with pytest.raises(UserError, match=r"no person found in image a\.png, b\.png"):
        reader.read(IMAGES[:2], ["a.png", "b.png"])
    with pytest.raises(UserError, match="image 1, 2"):
        reader.read(IMAGES[:2])
    whole = KeypointReader(**models, min_score=1.0, whole_image=True, batch_size=1)
    wide = IMAGES[0].resize((200, 100))
    found = whole.read([wide, IMAGES[1]])
    assert [points.shape for points in found] == [(18, 3)] * 2
    assert all(((p >= 0) & (p <= 1)).all() for p in found)
    assert reader.fingerprint != whole.fingerprint


def test_the_box_with_the_largest_area_times_score_is_taken(networks) -> None:
    reader = KeypointReader(
        detector=str(networks["detector"]), pose_model=str(networks["vitpose"]), min_score=0.0
    )
    (box,) = reader._boxes([IMAGES[0].resize((64, 128))])
    images, network = reader._detector
    with torch.inference_mode():
        answer = network(**images([IMAGES[0].resize((64, 128))], return_tensors="pt"))
    best = int((answer.logits[0, :, 0].sigmoid() * answer.pred_boxes[0, :, 2:].prod(1)).argmax())
    x, y, w, h = answer.pred_boxes[0, best].tolist()
    assert box == pytest.approx(np.array([(x - w / 2) * 64, (y - h / 2) * 128, w * 64, h * 128]))


def test_similarity_is_that_of_the_pose_alone() -> None:
    body = SUITE.tasks["salute"].exemplars[0].keypoints
    moved = body * [0.5, 0.5, 1] + [0.2, 0.1, 0]
    mirrored = body * [-1, 1, 1] + [1, 0, 0]
    found = similarity(np.stack([body]), np.stack([body, moved, mirrored]))
    assert found[0, :2] == pytest.approx([1, 1]) and found[0, 2] < 0.9
    half = body.copy()
    half[8:14, 2] = 0  # no legs: the rest is still compared
    assert similarity(half[None], body[None])[0, 0] == pytest.approx(1)
    half[2:8, 2] = 0  # no arms either: too little is left
    assert similarity(half[None], body[None])[0, 0] == 0


def test_similarity_by_hand() -> None:
    one, two = np.zeros((2, 18, 3))
    for body in (one, two):
        body[[1, 2, 3], 2] = 1  # neck, right shoulder and elbow: two limbs
    one[1:4, :2] = (0.5, 0.2), (0.4, 0.2), (0.4, 0.4)
    two[1:4, :2] = (0.5, 0.2), (0.4, 0.2), (0.2, 0.2)
    two[3, 2] = 0.5
    # limbs (-.1, 0), (0, .2) and (-.1, 0), (-.2, 0), of weights 1 and 0.5
    wanted = 0.01 / np.sqrt((0.01 + 0.5 * 0.04) * (0.01 + 0.5 * 0.04))
    assert similarity(one[None], two[None])[0, 0] == pytest.approx(wanted)


def test_the_threshold_is_between_what_it_parts() -> None:
    assert balancing_threshold(np.array([0.8, 0.9]), np.array([0.1, 0.6])) == pytest.approx(0.7)
    overlap = balancing_threshold(np.array([0.2, 0.7, 0.8, 0.9]), np.array([0.1, 0.3, 0.4]))
    assert overlap == pytest.approx(0.55)
    assert balancing_threshold(np.array([0.3, 0.5]), np.array([])) == 0.3
    assert balancing_threshold(np.array([]), np.array([0.5])) > 0.5


def test_poses_tell_the_development_actions_apart_by_leave_one_out() -> None:
    suite = get_suite("puppets-dev")
    bodies = Bodies.of(suite, KeypointReader())  # all are known: nothing is loaded
    thresholds = bodies.thresholds()
    right = []
    for name, action, body in zip(bodies.ids, bodies.actions, bodies.keypoints):
        scores = bodies.scores([body], [name])[0]
        above = scores >= bodies.thresholds([name])
        right.append(bool(above.any()) and np.where(above, scores, -9).argmax() == action)
    assert np.mean(right) >= 0.95
    assert ((thresholds > 0.5) & (thresholds < 1)).all()
    (nobody,) = bodies.scores([None])
    assert (nobody == -1).all()


def test_the_pose_judge_takes_the_subject_from_clip(networks) -> None:
    pose, clip = build(networks, "pose"), build(networks, "clip")
    for a, b in zip(pose.judge(IMAGES, ITEMS), clip.judge(IMAGES, ITEMS)):
        assert (a.subject_correct, a.subject_seen) == (b.subject_correct, b.subject_seen)
        assert a.subject_score == pytest.approx(b.subject_score, abs=1e-6)
    exemplar = SUITE.tasks["handstand"].exemplars[0]
    item = Item(SUITE.actions[-1], SUITE.subjects[0], 0)
    (seen,) = pose.without([exemplar.id]).judge([exemplar.image], [item])
    assert seen.action_correct and seen.action_seen == "handstand"
    nobody = build(networks, "pose", "min_score=1", "whole_image=false")
    (found,) = nobody.judge(IMAGES[:1], ITEMS[:1])
    assert found.action_seen == NONE and not found.action_correct and found.action_score == 0


def test_exemplars_without_keypoints_are_read(networks, tmp_path: Path) -> None:
    rows = []
    for number, image in enumerate(IMAGES):
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        action = ("jump", "dance")[number % 2]
        rows.append(
            {
                "id": f"{action}-{number}",
                "action": action,
                "image": {"bytes": buffer.getvalue(), "path": None},
                "caption": "a person",
                "template": "a person {}",
                "keypoints": None,
            }
        )
    file = tmp_path / "photos.parquet"
    pq.write_table(pa.Table.from_pylist(rows), file)
    suite = replace(
        SUITE,
        actions=(Action("jump", "jumps"), Action("dance", "dances")),
        subjects=(Subject("boy", "human", "A boy"),),
        exemplar_file=file,
    )
    judge = build(networks, "pose", suite=suite)
    points = judge.reader.bodies.keypoints
    assert points.shape == (4, 18, 3) and (points[:, :, 2] > 0).any()
    item = Item(suite.actions[0], suite.subjects[0], 0)
    verdict = judge.judge([IMAGES[0].copy()], [item])[0]
    assert verdict.action_score == pytest.approx(
        max(0, judge.reader.bodies.scores([points[0]])[0, 0]), abs=1e-4
    )


# Numbers that are not finite


def spoiled(folder: Path, out: Path, ending: str) -> Path:
    """Copy a network with the weights whose names end so made NaN."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(folder, out)
    tensors = load_file(out / "model.safetensors")
    names = [name for name in tensors if name.endswith(ending)]
    assert names
    for name in names:
        tensors[name] = torch.full_like(tensors[name], float("nan"))
    save_file(tensors, out / "model.safetensors", {"format": "pt"})
    return out


@pytest.mark.parametrize(
    ("kind", "model", "change", "ending", "message"),
    [
        ("clip", "clip", "model", "visual_projection.weight", "embeddings of pictures by the clip"),
        ("clip", "clip", "model", "text_projection.weight", "embeddings of the suite's words by"),
        ("clip", "clip", "model", "logit_scale", "probabilities by the clip judge's model"),
        ("vqa", "qwen", "model", "lm_head.weight", "answers of the vqa judge's model"),
        ("pose", "detector", "detector", "class_embed.1.weight", "boxes by the person detector"),
        ("pose", "vitpose", "pose_model", "layernorm.weight", "points by the pose model"),
    ],
)
def test_a_judge_whose_network_gives_nan_is_refused(
    networks, tmp_path: Path, kind: str, model: str, change: str, ending: str, message: str
) -> None:
    folder = spoiled(networks[model], tmp_path / "spoiled", ending)
    judge = build(networks, kind, f"{change}={folder}")
    with pytest.raises(
        UserError, match=f"{message} .*not finite numbers .*its weights are damaged"
    ):
        judge.judge([IMAGES[0].copy()], ITEMS[:1])
