"""The Hub's cache: a folder counts as fetched if all files of a whole model are in it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants

from actionbench.diffusion.backbone import Backbone
from actionbench.errors import UserError
from actionbench.files import hub, kinds
from actionbench.files.models import (
    Network,
    check_shape,
    lacking_network,
    lacking_pipeline,
    local_model,
    resolve_controlnet,
    resolve_model,
    resolve_network,
)
from actionbench.files.networks import check_pipeline
from actionbench.method import Method
from actionbench.plugins.tiny import tiny_pipeline
from actionbench.runs.doctor import check_downloads, check_model, check_parts
from actionbench.runs.prefetch import prefetch
from tests.helpers.small_run import Brightness, Plain, small_suite
from tests.helpers.tiny_judges import tiny_clip

COMMIT = "0" * 40


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use an empty cache of the Hub, and no network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def put(cache: Path, hub_id: str, folder: Path, without: Sequence[str] = ()) -> Path:
    """Store a repository as huggingface_hub does, but for some files."""
    repository = cache / f"models--{hub_id.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    snapshot = Path(shutil.copytree(folder, repository / "snapshots" / COMMIT))
    for name in without:
        (snapshot / name).unlink()
    return snapshot


UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.mark.parametrize(
    "lost",
    [
        "model_index.json",
        UNET,
        "vae/config.json",
        "text_encoder/model.safetensors",
        "scheduler/scheduler_config.json",
        "tokenizer/tokenizer_config.json",
        "tokenizer/tokenizer.json",
    ],
)
def test_a_base_model_that_lacks_a_file_is_not_cached(
    cache: Path, tiny_model: Path, lost: str
) -> None:
    snapshot = put(cache, "somebody/model", tiny_model, [lost])
    assert local_model("somebody/model") is None
    with pytest.raises(UserError) as raised:
        resolve_model("somebody/model")
    message = str(raised.value)
    assert f"it is not whole: {snapshot} lacks {lost}" in message
    assert "hf download somebody/model" in message
    assert ("a model in a single file" in message) == (lost == "model_index.json")
    folder, finding = check_model("somebody/model")
    assert folder is None and finding.state == "fail"
    assert f"is not whole on this machine: {lost}" in finding.message
    shutil.copy(tiny_model / lost, snapshot / lost)
    assert local_model("somebody/model") == snapshot
    assert resolve_model("somebody/model").path == snapshot


def test_a_blob_that_is_gone_is_a_file_that_is_gone(cache: Path, tiny_model: Path) -> None:
    """The cache's files are links to blobs."""
    snapshot = put(cache, "somebody/model", tiny_model, [UNET])
    (snapshot / UNET).symlink_to(cache / "models--somebody--model" / "blobs" / "gone")
    assert local_model("somebody/model") is None


def test_the_shards_that_an_index_names_are_all_there(cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sharded"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    shards = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    index = {"weight_map": {"a": shards[0], "b": shards[1]}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / shards[0]).write_bytes(b"")
    assert lacking_network(folder) == [shards[1]]
    put(cache, "somebody/judge", folder)
    assert Network("somebody/judge", "transformers.AutoModel").local() is None
    assert Network("somebody/judge", "transformers.AutoModel").missing() == [shards[1]]
    (folder / shards[1]).write_bytes(b"")
    assert lacking_network(folder) == []
    (folder / "model.safetensors.index.json").unlink()
    assert lacking_network(folder) == ["model.safetensors.index.json"]


@pytest.mark.parametrize("lost", ["preprocessor_config.json", "tokenizer_config.json"])
def test_a_judges_model_has_what_stands_beside_its_network(
    cache: Path, tmp_path: Path, lost: str
) -> None:
    folder = tiny_clip(tmp_path / "clip")
    if lost == "preprocessor_config.json":
        assert (folder / lost).is_file()
    put(cache, "somebody/clip", folder, [lost])
    network = Network("somebody/clip", "transformers.AutoModel", ("tokenizer", "images"))
    assert network.local() is None
    (missing,) = network.missing()
    assert missing.startswith(lost)
    with pytest.raises(UserError, match=f"lacks {lost}"):
        resolve_network("somebody/clip", "clip judge's model", network.beside)


class Judged(Brightness):
    networks = (Network("somebody/clip", "transformers.AutoModel", ("tokenizer", "images")),)


def fetched_from(origin: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let the Hub's client copy from folders; return the ids that it is asked for.

    The network is the only thing that is replaced: without it, the client completes nothing.
    """
    asked: list[str] = []
    import huggingface_hub

    real: Callable[..., str] = huggingface_hub.snapshot_download

    def download(repo_id: str, *, local_files_only: bool, **more: Any) -> str:
        snapshot = real(repo_id, local_files_only=True, **more)
        if not local_files_only:
            asked.append(repo_id)
            shutil.copytree(origin[repo_id], snapshot, dirs_exist_ok=True)
        return snapshot

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setattr(hub.Repository, "remote_bytes", lambda self: None)
    return asked


def test_prefetch_completes_what_is_there_in_part(
    cache: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = tiny_clip(tmp_path / "clip")
    snapshot = put(cache, "somebody/model", tiny_model, [UNET, "vae/config.json"])
    put(cache, "somebody/clip", clip, ["model.safetensors"])
    judge, methods = Judged(small_suite(tmp_path / "suite")), list[Method[Any]]([Plain()])

    def report(_line: str) -> None: ...

    model, judged = prefetch("somebody/model", methods, judge, report)
    assert model.folder is None and f"lacks vae/config.json, {UNET}" in model.message
    assert judged.folder is None and "lacks model.safetensors" in judged.message
    (finding,) = check_downloads(methods, judge, "prefetch")
    assert finding.state == "fail" and "model.safetensors missing" in finding.message

    asked = fetched_from({"somebody/model": tiny_model, "somebody/clip": clip}, monkeypatch)
    model, judged = prefetch("somebody/model", methods, judge, report)
    assert model.folder == snapshot and judged.folder is not None
    assert asked == ["somebody/model", "somebody/clip"]
    assert local_model("somebody/model") == snapshot
    (finding,) = check_downloads(methods, judge, "prefetch")
    assert finding.state == "ok" and "its weights fit" in finding.message
    prefetched = list(prefetch("somebody/model", methods, judge, report))
    assert all(fetched.folder for fetched in prefetched) and len(asked) == 2, (
        "nothing is asked anew"
    )


def test_prefetch_and_doctor_compare_names_without_loading(
    cache: Path, model: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    clip = tiny_clip(tmp_path / "clip")
    for file in (model / "text_encoder" / "model.safetensors", clip / "model.safetensors"):
        tensors = load_file(file)
        for name in sorted(tensors)[:2]:
            tensors[f"renamed.{name}"] = tensors.pop(name)
        save_file(tensors, file, {"format": "pt"})
    put(cache, "somebody/clip", clip)
    judge, methods = Judged(small_suite(tmp_path / "suite")), list[Method[Any]]([Plain()])
    first, second = prefetch(str(model), methods, judge, report=lambda _line: None)
    for fetched, kind in (
        (first, "transformers.CLIPTextModel"),
        (second, "transformers.AutoModel"),
    ):
        assert fetched.folder is None
        assert f"its weights are not those of {kind}: 2 missing (" in fetched.message
    (finding,) = check_parts(model)
    assert finding.state == "fail" and "text_encoder: its weights are not" in finding.message
    (finding,) = check_downloads(methods, judge, "prefetch")
    assert finding.state == "fail" and "2 missing (" in finding.message


# -- half precision, single files, other shapes --------------------------------------------


def halve(folder: Path, parts: Sequence[str]) -> None:
    """Keep the weights of some parts in half precision only, as some repositories do."""
    for part in parts:
        for path in (folder / part).glob("*.safetensors"):
            path.rename(path.with_name(path.name.replace(".safetensors", ".fp16.safetensors")))


@pytest.mark.parametrize("parts", [("unet",), ("vae", "text_encoder"), kinds.UNET.networks])
def test_half_precision_files_of_some_parts(
    cache: Path, tmp_path: Path, parts: tuple[str, ...]
) -> None:
    folder = tiny_pipeline(tmp_path / "half", dtype=torch.float16)
    plain = Backbone.load(resolve_model(str(folder)))
    halve(folder, parts)
    source = resolve_model(str(folder))
    assert set(source.half) == set(parts)
    assert not any(check_pipeline(folder, source.half).values())
    backbone = Backbone.load(source)
    for part in kinds.UNET.networks:
        own, other = (getattr(b.pipeline, part).state_dict() for b in (backbone, plain))
        assert all(torch.equal(own[name], other[name]) for name in other)
    put(cache, "somebody/half", folder)
    assert resolve_model("somebody/half").fingerprint == source.fingerprint


def test_a_judge_in_half_precision_alone_says_what_to_rename(tmp_path: Path) -> None:
    folder = tiny_clip(tmp_path / "clip")
    weights = folder / "model.safetensors"
    weights.rename(folder / "model.fp16.safetensors")
    with pytest.raises(UserError, match=r"rename model\.fp16\.safetensors without `\.fp16`"):
        resolve_network(str(folder), "clip judge's model")
    with pytest.raises(
        UserError, match=r"not a whole ControlNet: it lacks diffusion_pytorch_model"
    ):
        (folder / "model.fp16.safetensors").unlink()
        resolve_controlnet(str(folder))


def test_a_model_in_a_single_file_says_how_to_convert_it(tmp_path: Path) -> None:
    file = tmp_path / "my model.safetensors"
    file.write_bytes(b"")
    for path in (file, tmp_path):
        with pytest.raises(UserError) as raised:
            resolve_model(str(path))
        message = str(raised.value)
        assert "P.from_single_file(" in message and "--model 'my model'" in message
        assert "\n" not in message
    pickled = tmp_path / "old.ckpt"
    pickled.write_bytes(b"")
    with pytest.raises(UserError, match="may run code when it is read"):
        local_model(str(pickled))


@pytest.mark.parametrize(
    ("channels", "use"), [(9, "inpainting"), (8, "image editing"), (5, "depth"), (7, "")]
)
def test_a_unet_of_other_channels_is_refused(model: Path, channels: int, use: str) -> None:
    config = model / "unet" / "config.json"
    facts = json.loads(config.read_text())
    config.write_text(json.dumps({**facts, "in_channels": channels}))
    with pytest.raises(UserError) as raised:
        local_model(str(model))
    message = str(raised.value)
    assert f"its UNet takes {channels} channels, the autoencoder's latents have 4" in message
    assert (f"a model for {use}" in message) == bool(use)
    config.write_text(json.dumps({**facts, "cross_attention_dim": 24}))
    with pytest.raises(UserError, match="takes text states 24 wide, its text encoder's are 16"):
        check_shape(model)


def test_a_whole_pipeline_lacks_nothing(tiny_model: Path, model: Path) -> None:
    assert lacking_pipeline(tiny_model) == []
    assert check_shape(tiny_model) == ()
    for name in ("vocab.json", "merges.txt"):
        (model / "tokenizer" / name).write_text("{}")
    (model / "tokenizer" / "tokenizer.json").unlink()
    assert lacking_pipeline(model) == [], "the same words in two files"
    source = resolve_model(str(tiny_model))
    assert replace(source, half=("vae",)).variant("vae") == "fp16"
    assert source.variant("vae") is None
