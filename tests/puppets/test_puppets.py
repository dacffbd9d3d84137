"""The puppets: drawings, words, the packaged dataset, and the training of the miniature models."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from transformers import CLIPTextConfig, CLIPTextModel

from actionbench.errors import UserError
from actionbench.files.atomic import own_folder, replacing
from actionbench.progress import Progress
from actionbench.puppets.captions import HEADS, retell
from actionbench.puppets.corpus import Corpus, draw_many, pose_labels
from actionbench.puppets.dataset import EXEMPLARS, build_dataset, check_dataset, exemplar_scenes
from actionbench.puppets.looks import SUBJECTS
from actionbench.puppets.pose import ACTIONS, KNOWN, action_pose, free_pose, loose_pose, mirrored
from actionbench.puppets.pretrain import (
    LimbReader,
    Recipe,
    bone_maps,
    grown,
    new_unet,
    picture_weights,
    pretrain,
    principal_spread,
    refine,
    scale_channels,
    to_pixels,
    train_tokenizer,
)
from actionbench.puppets.scene import Scene, draw
from actionbench.suite.items import SLOT, paper_actions, paper_subjects
from actionbench.suite.shipped import DATASET
from actionbench.suite.skeleton import COLORS, draw_skeleton
from actionbench.suite.suite import get_suite

WRISTS, NECK, NOSE, ANKLES = (4, 7), 1, 0, (10, 13)


def scene(action: str, subject: str = "woman", seed: int = 3) -> Scene:
    rng = np.random.default_rng(seed)
    return Scene("A woman", action, "", SUBJECTS[subject], action_pose(action, rng), "park", seed)


def test_every_subject_and_action_of_the_lists_can_be_drawn() -> None:
    assert set(SUBJECTS) == {s.name for s in paper_subjects()}
    assert {a.name for a in paper_actions()} < set(ACTIONS)
    pictures = [draw(scene("salute", name), 64)[0].tobytes() for name in SUBJECTS]
    assert len(set(pictures)) == len(SUBJECTS)


def test_a_drawing_depends_on_its_seed_alone() -> None:
    first, points = draw(scene("cheer"), 64)
    again, same = draw(scene("cheer"), 64)
    other, _ = draw(scene("cheer", seed=4), 64)
    assert first.tobytes() == again.tobytes() != other.tobytes()
    assert np.array_equal(points, same)


def test_left_and_right_matter() -> None:
    for action in ("salute", "gesture", "point"):
        for seed in range(5):
            points = draw(scene(action, seed=seed), 64)[1]
            right, left = points[WRISTS[0]], points[WRISTS[1]]
            assert right[0] < points[NECK, 0] + 0.03, action  # its right is the picture's left
            assert right[1] < left[1], f"{action}: the right hand is the raised one"


def test_poses_are_what_their_names_say() -> None:
    up = draw(scene("cheer"), 64)[1]
    assert all(up[w, 1] < up[NOSE, 1] for w in WRISTS)
    turned = draw(scene("handstand"), 64)[1]
    assert turned[ANKLES[0], 1] < turned[NECK, 1] < turned[WRISTS[0], 1]
    praying = draw(scene("pray"), 64)[1]
    assert abs(praying[WRISTS[0], 0] - praying[WRISTS[1], 0]) < 0.08


def test_mirroring_twice_gives_the_pose_back() -> None:
    pose = action_pose("point", np.random.default_rng(0))
    assert mirrored(mirrored(pose)) == pose
    assert mirrored(pose).left_arm.upper == -pose.right_arm.upper


def test_loose_poses_keep_away_from_the_action() -> None:
    def far(pose, base) -> float:
        limbs = ("right_arm", "left_arm", "right_leg", "left_leg")
        return max(abs(getattr(pose, n).upper - getattr(base, n).upper) for n in limbs)

    rng = np.random.default_rng(1)
    base = ACTIONS["cheer"][0]
    exact = np.median([far(action_pose("cheer", rng), base) for _ in range(60)])
    loose = np.median([far(loose_pose("cheer", rng), base) for _ in range(60)])
    assert loose > 3 * exact


def test_free_poses_are_told_limb_by_limb() -> None:
    rng = np.random.default_rng(2)
    for _ in range(20):
        words, pose = free_pose(rng)
        raised = "right arm up" in words or "right arm high" in words
        assert raised == (abs(pose.right_arm.upper) > 108)


def test_exemplars_are_strangers_in_ten_places() -> None:
    for number, action in enumerate(paper_actions()):
        scenes = exemplar_scenes(action, number)
        assert len({s.backdrop for s in scenes}) == len(scenes) == EXEMPLARS
        assert all(s.look not in SUBJECTS.values() for s in scenes)
        assert all(s.template == s.caption.replace(action.description, SLOT) for s in scenes)


def test_the_shipped_dataset_is_what_this_code_draws() -> None:
    assert len(check_dataset(DATASET)) == 16


def test_the_dataset_loads_with_the_datasets_library(tmp_path: Path) -> None:
    rows = datasets.load_dataset(str(DATASET), "exemplars", split="train", cache_dir=tmp_path)
    assert len(rows) == 80
    assert rows[0]["image"].size == rows[0]["skeleton"].size == (512, 512)
    assert SLOT in rows[0]["template"]
    assert rows[0]["description"] in rows[0]["caption"]
    subjects = datasets.load_dataset(str(DATASET), "subjects", split="test", cache_dir=tmp_path)
    assert [s["name"] for s in subjects] == [s.name for s in paper_subjects()]
    dev = datasets.load_dataset(str(DATASET), "dev", split="train", cache_dir=tmp_path)
    assert not set(dev["action"]) & set(rows["action"])


def test_a_changed_dataset_is_told(tmp_path: Path) -> None:
    for name in ("exemplars", "dev", "subjects"):
        (tmp_path / f"{name}.parquet").write_bytes((DATASET / "subjects.parquet").read_bytes())
    with pytest.raises(UserError, match="is not what this version makes"):
        check_dataset(tmp_path)


def test_a_damaged_dataset_is_told_in_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "dataset"
    shutil.copytree(DATASET, folder)
    whole = (folder / "dev.parquet").read_bytes()
    (folder / "dev.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"dev\.parquet is damaged .*data build"):
        check_dataset(folder)


def test_nothing_but_our_own_folders_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("five years")
    with pytest.raises(UserError, match="holds other files"):
        build_dataset(tmp_path)
    with pytest.raises(UserError, match="holds other files"):
        pretrain(tmp_path, tmp_path / "work", recipe=TINY)
    with pytest.raises(UserError, match="is a file"):
        own_folder(tmp_path / "thesis.txt", "mark")
    assert (tmp_path / "thesis.txt").read_text() == "five years"


def test_a_folder_is_swapped_in_whole_or_not_at_all(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    (place / "old").touch()
    with pytest.raises(KeyboardInterrupt), replacing(place) as folder:
        folder.mkdir()
        raise KeyboardInterrupt
    assert (place / "old").exists()
    with replacing(place) as folder:
        folder.mkdir()
        (folder / "new").touch()
    assert [p.name for p in place.iterdir()] == ["new"]


def test_suites_read_their_exemplars() -> None:
    suite = get_suite("puppets")
    assert [len(t.exemplars) for t in suite.tasks.values()] == [EXEMPLARS] * 8
    assert suite.fingerprint != get_suite("puppets-dev").fingerprint
    assert next(s.name for s in suite.pick_subjects(["animal"])) == "dog"
    with pytest.raises(UserError, match="did you mean salute"):
        suite.pick_actions(["salut"])


def test_skeletons_are_drawn_in_openpose_colours() -> None:
    points = np.zeros((18, 3), np.float32)
    points[2], points[3] = (0.25, 0.5, 1), (0.75, 0.5, 1)
    picture = np.asarray(draw_skeleton(points, 512))
    assert tuple(picture[256, 128]) == COLORS[2]
    assert tuple(picture[256, 384]) == COLORS[3]
    assert tuple(picture[256, 256]) == tuple(round(0.6 * c) for c in COLORS[2])
    assert picture[:200].max() == 0


def test_corpora_repeat_and_label_what_they_show() -> None:
    images, keypoints, rows = draw_many("pretraining", (7, 0), 40)
    again = draw_many("pretraining", (7, 0), 40)
    assert np.array_equal(images, again.images) and np.array_equal(keypoints, again.keypoints)
    known = {name: words for name, (words, _) in KNOWN.items()}
    for row in rows:
        assert row["pose"] in pose_labels()
        said = [name for name, words in known.items() if f" {words}" in row["caption"]]
        assert not said or said == [row["pose"]]
    assert not any("{}" in row["caption"] for row in rows)


def test_a_description_is_bound_as_tightly_as_told() -> None:
    rows = [{"word": "sit", "pose": "sit"}] * 5 + [{"word": "sit", "pose": "other"}] * 5
    rows += [{"word": "", "pose": "stand"}] * 10
    nothing = np.zeros((20, 1, 1, 3), np.uint8), np.zeros((20, 18, 3), np.float32)
    weights = picture_weights(Corpus(*nothing, rows, ""), action_share=0.4, exact_share=0.2)
    assert weights[:5].sum() == pytest.approx(0.08)
    assert weights[5:10].sum() == pytest.approx(0.32)
    assert weights[10:].sum() == pytest.approx(0.6)


def test_the_tokenizer_knows_every_word_of_its_corpus_and_spells_others() -> None:
    tokenizer = train_tokenizer(["a panda sits on a beach", "batman waves"], 16)
    words = tokenizer("a panda waves", add_special_tokens=False).input_ids
    assert len(words) == 3
    strange = tokenizer("zebra", add_special_tokens=False).input_ids
    assert tokenizer.decode(strange).strip() == "zebra"


def test_a_caption_may_be_said_in_other_ways_that_leave_the_pose_and_the_place_alone() -> None:
    said = "a person with red hair, an orange shirt and blue trousers salutes on a beach"
    looks = {"red hair", "an orange shirt", "blue trousers"}
    partly = set(retell([said] * 200, 0, as_photo=0, in_part=1))
    assert len(partly) == 6  # one or two of three, in their order
    for caption in partly:
        assert caption.startswith("a person with ") and caption.endswith(" salutes on a beach")
        named = caption.removeprefix("a person with ").removesuffix(" salutes on a beach")
        assert set(named.split(" and ")) < looks
    assert retell([said], 0, as_photo=0, in_part=0) == [said]
    photos = set(retell(["A panda sits", "Batman sits"] * 200, 0, as_photo=1, in_part=1))
    assert {f"{head} panda sits" for head in HEADS} < photos
    assert {"a photo of Batman sits", "an image of Batman sits"} < photos
    assert "a photo of an old man sits" in retell(["An old man sits"] * 50, 0, 1, 1)
    assert not any("a batman" in caption.lower() for caption in photos)
    assert retell([said] * 9, 1, 0.5, 0.5) == retell([said] * 9, 1, 0.5, 0.5)


def test_a_grown_vocabulary_keeps_the_words_that_it_had() -> None:
    small = train_tokenizer(["a panda sits"], 16)
    large = train_tokenizer(["a photo of a panda that sits"], 16)
    torch.manual_seed(0)
    config = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2}
    config |= {"num_hidden_layers": 1, "max_position_embeddings": 16, "vocab_size": len(small)}
    text = CLIPTextModel(CLIPTextConfig(**config)).eval()
    more = grown(text, small, large).eval()
    assert len(large) > len(small)
    for words, same in (("a panda sits", True), ("a photo", False)):
        ids = [tokenizer(words).input_ids for tokenizer in (small, large)]
        states = [
            model(torch.tensor([row])).last_hidden_state
            for model, row in zip((text, more), ids, strict=True)
        ]
        assert (states[0].shape == states[1].shape) is same
        assert not same or torch.allclose(*states, atol=1e-6)
    assert more.config.eos_token_id == large.eos_token_id


def test_scaling_latent_channels_leaves_the_pictures_as_they_are() -> None:
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(4, 4),
        latent_channels=3,
        norm_num_groups=1,
    ).eval()
    pixels = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = vae.encode(pixels).latent_dist
        picture = vae.decode(before.mean).sample
        scale = torch.tensor([1.0, 0.5, 0.1])
        scale_channels(vae, scale)
        after = vae.encode(pixels).latent_dist
    assert torch.allclose(after.mean, before.mean * scale.view(1, 3, 1, 1), atol=1e-5)
    assert torch.allclose(after.std, before.std * scale.view(1, 3, 1, 1), rtol=1e-4)
    assert torch.allclose(vae.decode(after.mean).sample, picture, atol=1e-4)


def test_principal_components_get_quieter() -> None:
    images = draw_many("pretraining", (3, 0), 8).images
    spread = principal_spread(to_pixels(images, "cpu"), 16)
    assert spread[0] == 1 and bool((spread.diff() <= 0).all()) and spread[-1] > 0


def test_bone_maps_are_bright_along_a_bone_and_dark_away_from_it() -> None:
    points = torch.full((1, 18, 3), 0.9)
    points[0, 2, :2], points[0, 3, :2] = torch.tensor([0.25, 0.5]), torch.tensor([0.75, 0.5])
    upper_arm = bone_maps(points, 16)[0, 0]
    # Row 8 lies half a cell under the bone, at 0.53125; 0.04 is the maps' standard deviation.
    expected = math.exp(-(0.03125**2) / (2 * 0.04**2))
    assert upper_arm[8, 4:12].tolist() == pytest.approx([expected] * 8)
    assert upper_arm[0].max() < 1e-6 and upper_arm[8, 0] < 0.01


def test_the_limb_reader_learns_from_the_unets_features_and_weighs_the_limbs() -> None:
    torch.manual_seed(0)
    points = torch.from_numpy(draw_many("pretraining", (4, 0), 8).keypoints)
    unet = new_unet(TINY)
    reader = LimbReader(unet, points)
    unet(torch.randn(8, 24, 8, 8), 10, torch.randn(8, 4, 16))
    loss, limbs = reader(points)
    loss.backward()
    moved = [name for name, p in unet.named_parameters() if p.grad is not None]
    assert any(name.startswith("mid_block") for name in moved)
    assert not any(name.startswith(("up_blocks.2", "conv_out")) for name in moved)
    assert limbs.shape == (8, 1, 8, 8) and 0.5 < float(limbs.max()) <= 1
    wrist = (points[0, 4, :2] * 8).long()
    assert limbs[0, 0, wrist[1], wrist[0]] > 0.1


TINY = Recipe(
    drawings=96,
    width=16,
    text_layers=1,
    vision_layers=1,
    clip_steps=4,
    clip_batch=8,
    autoencoder_channels=(4, 4, 8, 8),
    autoencoder_steps=4,
    autoencoder_batch=4,
    decoder_steps=4,
    unet_channels=(16, 16, 16),
    unet_heads=2,
    diffusion_steps=6,
    diffusion_batch=4,
    checkpoint_steps=2,
)


class Interrupted(Progress):
    """Ctrl-C in the middle of one stage."""

    def __init__(self, what: str, at: int) -> None:
        self.what, self.at = what, at

    def update(self, done: int, total: int, what: str = "") -> None:
        if what == self.what and done == self.at:
            raise KeyboardInterrupt


STOPS = (("text encoder", 3), ("autoencoder", 3), ("diffusion model", 5), ("decoder", 3))


def test_pretraining_goes_on_from_where_it_was_killed(tmp_path: Path) -> None:
    straight = pretrain(tmp_path / "a", tmp_path / "work-a", recipe=TINY)
    for what, at in STOPS:
        with pytest.raises(KeyboardInterrupt):
            pretrain(
                tmp_path / "b", tmp_path / "work-b", recipe=TINY, progress=Interrupted(what, at)
            )
    resumed = pretrain(tmp_path / "b", tmp_path / "work-b", recipe=TINY)
    assert straight is not None and resumed is not None
    one = StableDiffusionPipeline.from_pretrained(straight, safety_checker=None)
    two = StableDiffusionPipeline.from_pretrained(resumed, safety_checker=None)
    for part in ("text_encoder", "vae", "unet"):
        assert same_weights(one, two, part)
    assert not any(str(tmp_path) in file.read_text() for file in straight.rglob("*.json"))
    with pytest.raises(UserError, match="--more-steps"):
        refine(straight, tmp_path / "c", tmp_path / "work-c", recipe=TINY)
    longer = replace(TINY, refine_steps=3)
    refined = refine(straight, tmp_path / "c", tmp_path / "work-c", recipe=longer)
    three = StableDiffusionPipeline.from_pretrained(refined, safety_checker=None)
    assert same_weights(one, three, "vae")
    assert not same_weights(one, three, "unet") and not same_weights(one, three, "text_encoder")


def same_weights(one: StableDiffusionPipeline, two: StableDiffusionPipeline, part: str) -> bool:
    other = getattr(two, part).state_dict()
    mine = getattr(one, part).state_dict()
    return all(torch.equal(tensor, other[name]) for name, tensor in mine.items())
