from __future__ import annotations

import json
import re
import shutil
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest

from actionbench.commands.options import names
from actionbench.diffusion.backbone import Backbone
from actionbench.errors import Problems, UserError
from actionbench.photos.importing import Choices, import_photographs
from actionbench.plugins.tiny import tiny_task
from actionbench.runs.options import RunOptions
from actionbench.runs.plan import plan_run
from actionbench.runs.store import Store
from actionbench.suite.items import Sampling, make_items, paper_actions, paper_subjects, slug
from actionbench.suite.shipped import PHOTOS
from actionbench.suite.suite import Suite, get_suite, suites
from actionbench.suite.yaml_file import read_definition, write_definition
from methods.controlnet import UNTRAINED, ControlNet, Settings
from tests.conftest import Done
from tests.helpers.photographs import SUITE, cloud, make_folder, write_suite
from tests.helpers.small_cli import install_plugins
from tests.helpers.small_run import Brightness, Drift, Plain


def lines(tmp_path: Path, text: str) -> tuple[str, ...]:
    with pytest.raises(Problems) as caught:
        get_suite(str(write_suite(tmp_path, text)))
    return caught.value.lines


def test_a_file_defines_a_suite(tmp_path: Path) -> None:
    suite = get_suite(str(write_suite(tmp_path)))
    assert (suite.name, suite.title, suite.judge) == ("two-actions", "Two actions", "brightness")
    assert [a.description for a in suite.actions] == ["waves", "jumps high"]
    assert [s.name for s in suite.pick_subjects(["animal"])] == ["panda"]
    assert suite.sampling == Sampling(2, 2.0)
    assert suite.protocol_of("brightness") == "two-actions-brightness-v1"
    assert suite.protocol_of("vqa") == "two-actions-vqa-v1"
    # What it leaves out is the shipped photographs'.
    assert suite.model == get_suite("photos").model and "{action}" in suite.prompt


def test_the_papers_lists_can_be_taken(tmp_path: Path) -> None:
    suite = get_suite(
        str(write_suite(tmp_path, "name: mine\nactions: paper\nsubjects: paper\nprotocol: mine-7"))
    )
    assert suite.actions == paper_actions() and suite.subjects == paper_subjects()
    assert suite.protocol_of("clip") == "mine-7" and suite.protocol_of("vqa") == "mine-vqa-7"


def test_a_definition_is_written_as_it_is_read(tmp_path: Path) -> None:
    own = read_definition(write_suite(tmp_path, SUITE + 'prompt: "{subject} who {action}"\n'))
    for definition in (own, read_definition(PHOTOS)):
        write_definition(definition, tmp_path / "again.yaml")
        assert read_definition(tmp_path / "again.yaml") == definition


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("title:", "tittle:", "unknown key 'tittle': did you mean title?"),
        ("name: two-actions\n", "", "name is missing"),
        ("two-actions\n", "Two Actions\n", "name: 'Two Actions': use only small letters"),
        ("Two actions", "no", "title: False is not text"),
        ("name: jump", "name: wave", "line 5: actions: the name 'wave' is there twice, first in "
         "line 4 ('wave')"),
        ("name: jump", "name: Jump", "actions: 'Jump': use only small letters"),
        ("name: Batman", "name: Panda", "line 8: subjects: the name 'Panda' is there twice"),
        ("jumps high", "Waves.", "line 5: actions: the description 'Waves.' is there twice, first "
         "in line 4 ('waves'): no judge can tell them apart"),
        ("phrase: Batman", "phrase: a  panda", "line 8: subjects: the phrase 'a panda' is there"),
        ("name: Batman", "name: none", "subjects: 'none' is what judges say if they see none"),
        ("name: Batman", "name: '🦇'", "the name '🦇' has no letter or digit"),
        ("name: Batman", 'name: "Bat\\e[31mman"', r"name: 'Bat\x1b[31mman' holds the control sign"),
        ("name: Batman", f"name: {'x' * 201}", "is too long: it names files"),
        ("name: Batman", "nmae: Batman", "unknown key 'nmae': did you mean name?"),
        (", phrase: Batman", "", "subjects, entry 2: phrase is missing"),
        ("jumps high", "'jumps {}'", "actions, entry 2: description: braces"),
        ("description: waves", "description: 7", "actions, entry 1: description: 7 is not text"),
        ("steps: 2", "steps: 2.5", "steps: 2.5 is not a whole number from 1 on"),
        ("steps: 2", "steps: true", "steps: True is not a whole number"),
        ("scale: 2.0", "scale: 0.5", "guidance_scale: 0.5 is not a number from 1 on"),
        ("scale: 2.0", "scale: .nan", "guidance_scale: nan is not a number from 1 on"),
        ("steps: 2", "steps: 2\nprompt: '{subject} waves'", "prompt: '{subject} waves' must hold"),
        ("steps: 2", "steps: 2\nprompt: '{subject} {action} {}'", "no other braces"),
        ("  - {name: wave, description: waves}", "  - waves", "entry 1: 'waves' must hold"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_definition_is_reported(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in SUITE
    assert any(message in line for line in lines(tmp_path, SUITE.replace(old, new, 1)))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("judge:", "subjects: paper\njudge:",
         "line 10: the key 'subjects' is given twice, first on line 6"),
        ("phrase: Batman", "phrase: Batman, phrase: Robin",
         "line 8: the key 'phrase' is given twice, first on line 8"),
    ],
)  # fmt: skip
def test_a_key_that_is_given_twice_is_refused(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    (line,) = lines(tmp_path, SUITE.replace(old, new, 1))
    assert message in line and "keep one" in line


def test_names_of_every_script_are_allowed_and_told_apart(tmp_path: Path) -> None:
    own = (
        ("wave", "挥手"), ("jump", "salte-à-la-corde"), ("panda", "熊猫"), ("Batman", "Zoë"),
        ("old man", "Zoé"),
    )  # fmt: skip
    text = SUITE
    for old, new in own:
        text = text.replace(f"name: {old},", f"name: {new},")
    suite = get_suite(str(write_suite(tmp_path, text)))
    assert [action.name for action in suite.actions] == ["挥手", "salte-à-la-corde"]
    assert [subject.name for subject in suite.subjects] == ["熊猫", "Zoë", "Zoé"]
    # A name may be typed in another case, and its accents as signs of their own.
    typed = unicodedata.normalize("NFD", "ZOË")
    assert [subject.name for subject in suite.pick_subjects([typed])] == ["Zoë"]
    spelled = write_suite(tmp_path, unicodedata.normalize("NFD", text))
    assert get_suite(str(spelled)).subjects == suite.subjects
    files = {Store(tmp_path / "runs").image_path("k", item).name for item in
             make_items(suite.actions[:1], suite.subjects, 1, 0)}  # fmt: skip
    assert files == {"熊猫-0.png", "zoë-0.png", "zoé-0.png"}


def test_the_name_of_a_plain_file_is_what_it_was() -> None:
    for sign in map(chr, range(128)):
        for name in (sign, f"a{sign}b", f"A{sign}", f"{sign}{sign}9"):
            assert slug(name) == re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def test_a_subject_that_is_named_like_a_group_is_drawn(tmp_path: Path) -> None:
    text = SUITE.replace("category: animal", "category: Batman")
    suite = get_suite(str(write_suite(tmp_path, text)))
    assert suite.pick_subjects(None) == suite.subjects
    assert [s.name for s in suite.pick_subjects(["batman"])] == ["panda", "Batman"]
    assert [s.name for s in suite.pick_subjects(["panda", "old man"])] == ["panda", "old man"]


def test_a_name_with_a_comma_can_be_given(tmp_path: Path) -> None:
    suite = get_suite(
        str(write_suite(tmp_path, SUITE.replace("name: old man", 'name: "Smith, Jr."')))
    )
    read = names(None, None, '"Smith, Jr.", panda')  # type: ignore[arg-type]
    assert read == ["Smith, Jr.", "panda"]
    assert [s.name for s in suite.pick_subjects(read)] == ["panda", "Smith, Jr."]
    with pytest.raises(UserError, match=r'did you mean "Smith, Jr\."\? valid: Batman, "Smith'):
        suite.pick_subjects(["Smith Jr."])
    with pytest.raises(click.BadParameter, match="quote a name as a whole"):
        names(None, None, '"Smith, panda')  # type: ignore[arg-type]


def test_all_mistakes_are_reported_together(tmp_path: Path) -> None:
    text = "nmae: mine\nactions: []\nsubjects:\n  - {name: dog}\nsteps: none\nprompt: draw it\n"
    problems = lines(tmp_path, text)
    starts = ("unknown key 'nmae'", "name is", "actions: must", "subjects, entry 1: category",
              "subjects, entry 1: phrase", "steps:", "prompt:")  # fmt: skip
    assert len(problems) == len(starts)
    assert all(any(line.startswith(start) for line in problems) for start in starts)


@pytest.mark.parametrize(
    "text",
    [
        "name: [", "- a list", "", "just words", "name: 2026-13-45", "name: !!timestamp x",
        "name: !!int ''", "name: !!bool x", "? [a]\n: b", "--- a\n--- b", "[" * 3000,
    ],
)  # fmt: skip
def test_a_file_that_is_not_a_definition_is_reported(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError, match=r"two-actions\.yaml (is not YAML|defines no suite)"):
        get_suite(str(write_suite(tmp_path, text)))


def test_aliases_that_multiply_are_reported_in_short(tmp_path: Path) -> None:
    """A message with the whole of a value would have ten to the ninth words."""
    levels = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 10)]
    text = "\n".join(["l0: &l0 [x]", *levels, "title: *l9", "name: a"])
    assert any("title: [[[...], " in line and len(line) < 400 for line in lines(tmp_path, text))


def test_a_file_in_another_encoding_is_reported(tmp_path: Path) -> None:
    path = write_suite(tmp_path)
    path.write_bytes(SUITE.encode("utf-16"))
    with pytest.raises(UserError, match="is not UTF-8, save it as UTF-8"):
        get_suite(str(path))
    path.write_bytes(SUITE.encode("utf-8-sig"))
    assert get_suite(str(path)).name == "two-actions"


def test_names_that_are_not_a_suite_are_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean photos"):
        get_suite("photoss")
    with pytest.raises(UserError, match=r"no suite at .*mine\.yaml"):
        get_suite(str(tmp_path / "mine.yaml"))
    with pytest.raises(UserError, match=r"holds no suite\.yaml.*data import"):
        get_suite(str(tmp_path))


def test_a_shipped_suites_name_means_that_suite(tmp_path: Path) -> None:
    write_definition(get_suite("photos"), tmp_path / "photos.yaml")
    assert read_definition(tmp_path / "photos.yaml") == read_definition(PHOTOS)
    text = (tmp_path / "photos.yaml").read_text()
    for old, new, fact in (
        ("steps: 50", "steps: 30", "sampling"),
        ("salutes", "greets", "actions"),
    ):
        (tmp_path / "photos.yaml").write_text(text.replace(old, new))
        with pytest.raises(UserError, match=f"'photos' is shipped with other {fact}"):
            get_suite(str(tmp_path / "photos.yaml"))


def test_photos_without_photographs_say_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    suite = suites()["photos"]
    assert suite.protocol_of(suite.judge) == "photos-clip-v1"
    assert suite.protocol_of("vqa") == "photos-vqa-v1"
    with pytest.raises(UserError, match="data import DIR --suite photos --out photos"):
        _ = suite.tasks
    # What it says works: the folder of the YAML file itself could not hold the dataset.
    with pytest.raises(UserError, match=r"data import DIR --suite .*two-actions\.yaml --out two"):
        _ = get_suite(str(write_suite(tmp_path))).tasks


def imported(tmp_path: Path, text: str = SUITE) -> Suite:
    suite = get_suite(str(write_suite(tmp_path, text)))
    source = tmp_path / "source"
    if not source.exists():
        make_folder(source)
    out = tmp_path / "own"
    import_photographs(source, out, suite, Choices(count=2))
    return get_suite(str(out))


def test_the_suites_fingerprint_covers_what_is_measured(tmp_path: Path) -> None:
    suite = imported(tmp_path)
    wave, jump = suite.actions
    changes: list[dict[str, Any]] = [
        {},
        {"name": "other"},
        {"protocol": "other"},
        {"sampling": Sampling(3, 2.0)},
        {"sampling": Sampling(2, 2.5)},
        {"actions": (wave, replace(jump, description="leaps"))},
        {"subjects": suite.subjects[1:]},
        {"prompt": "a photo of {subject} who {action}"},
    ]
    fingerprints = {replace(suite, **change).fingerprint for change in changes}
    assert len(fingerprints) == len(changes)
    assert replace(suite, model="another").fingerprint == suite.fingerprint
    cloud(77).save(tmp_path / "source/wave/0.jpg")
    assert imported(tmp_path).fingerprint not in fingerprints


def test_the_suites_prompt_is_what_is_drawn(tmp_path: Path, tiny_model: Path) -> None:
    from actionbench.files.models import resolve_model

    def plan(suite: Suite) -> tuple[str, str, str, int]:
        made = plan_run(
            suite=suite, method=Plain(), judge=Brightness(suite),
            source=resolve_model(str(tiny_model)), options=RunOptions(runs=tmp_path / "runs"),
        ).actions[0]  # fmt: skip
        item = made.items[0]
        return made.image_key, item.described_prompt, item.slot_prompt, item.seed

    suite = imported(tmp_path)
    key, described, slot, seed = plan(suite)
    assert (described, slot) == ("A panda waves", "A panda {}")
    other = plan(replace(suite, prompt="a photo of {subject} who {action}"))
    assert other[1:] == ("a photo of A panda who waves", "a photo of A panda who {}", seed)
    assert other[0] != key


def test_controlnet_says_how_to_get_keypoints(tmp_path: Path, tiny: Backbone) -> None:
    task = imported(tmp_path).tasks["wave"]
    method = ControlNet(Settings(controlnet=UNTRAINED))
    with pytest.raises(UserError, match=r"exemplars of 'wave' have no keypoints.*--keypoints"):
        method.fit(tiny, task, seed=0, progress=None)  # type: ignore[arg-type]
    assert method.fit(tiny, tiny_task(), seed=0, progress=None).tensors  # type: ignore[arg-type]


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: Callable[..., Done]
) -> Callable[..., Done]:
    """Run a command in this process and an empty folder, with the small methods and judge."""
    install_plugins(tmp_path / "plugins")
    monkeypatch.syspath_prepend(str(tmp_path / "plugins"))
    monkeypatch.chdir(tmp_path)

    return typed


def test_from_a_folder_of_photographs_to_a_board(
    call: Callable[..., Done], tmp_path: Path, tiny_model: Path
) -> None:
    make_folder(tmp_path / "source")
    definition = write_suite(tmp_path)
    status, out, _ = call("data", "import", "source", "--suite", definition, "--count", "2",
                          "--out", "my-photos")  # fmt: skip
    assert status == 0 and "wave 2, jump 2" in out
    assert "next: actionbench run --suite my-photos --method adi" in out
    assert call("data", "check", "my-photos")[0] == 0

    status, out, err = call("run", "--suite", "my-photos", "--method", Drift.name,
                            "--model", tiny_model)  # fmt: skip
    assert status == 0, err
    store = Store(tmp_path / "runs")
    (run_id,) = store.run_ids()
    record = store.load_record(run_id)
    assert record and record.complete and record.n_items == 2 * 3 * 2
    assert record.protocol == "two-actions-brightness-v1"
    assert record.suite_file == str(tmp_path / "my-photos/suite.yaml")
    # The same by the file in it: nothing is left to do.
    status, out, _ = call("run", "--suite", "my-photos/suite.yaml", "--method", Drift.name,
                          "--model", tiny_model, "--dry-run")  # fmt: skip
    assert out.startswith(run_id) and "verdicts      0 to do,    12 present" in out

    for suite in ("two-actions", "my-photos"):
        status, out, err = call("report", "--suite", suite)
        assert status == 0 and "two-actions-brightness-v1: Two actions" in out, err
    assert call("show", run_id)[0] == 0

    assert json.loads((tmp_path / f"runs/runs/{run_id}/run.json").read_text())["suite_file"] == (
        "../my-photos/suite.yaml"
    )
    board = (tmp_path / "runs/report/board.md").read_text()
    grid = (tmp_path / f"runs/runs/{run_id}/grid.png").read_bytes()

    # Carried to another machine without the dataset: board and picture are the same.
    home = tmp_path / "home"
    home.mkdir()
    shutil.move(tmp_path / "runs", home / "runs")
    shutil.move(tmp_path / "my-photos", tmp_path / "photos-of-2026")
    for words in (("report", "--runs", "home/runs"), ("show", run_id, "--runs", "home/runs")):
        assert call(*words)[0] == 0
    assert (home / "runs/report/board.md").read_text() == board
    assert (home / f"runs/runs/{run_id}/grid.png").read_bytes() == grid

    # Judging again needs the dataset itself: it may be named, and only the right one is taken.
    judge = ("judges", "run", run_id, "--judge", "brightness", "--runs", "home/runs")
    status, _, err = call(*judge)
    assert status == 2 and err.count("\n") == 1 and "name its new place with --suite" in err
    status, _, err = call(*judge, "--suite", "photos-of-2026")
    assert status == 2 and "was judged by this brightness judge already" in err
    text = (tmp_path / "photos-of-2026/suite.yaml").read_text()
    (tmp_path / "photos-of-2026/suite.yaml").write_text(text.replace("waves", "waves back"))
    for words in (judge, ("show", run_id, "--runs", "home/runs")):
        status, _, err = call(*words, "--suite", "photos-of-2026")
        assert status == 2 and "was drawn for another version of suite two-actions" in err
    # Both moved together find each other.
    (tmp_path / "photos-of-2026/suite.yaml").write_text(text)
    shutil.move(tmp_path / "photos-of-2026", home / "my-photos")
    status, _, err = call(*judge)
    assert status == 2 and "was judged by this brightness judge already" in err

    # A run that kept nothing, as earlier versions': its picture needs the dataset, too.
    shutil.rmtree(home / "runs/suites")
    assert call("show", run_id, "--runs", "home/runs")[0] == 0
    shutil.move(home / "my-photos", tmp_path / "gone")
    status, _, err = call("show", run_id, "--runs", "home/runs")
    assert status == 2 and err.count("\n") == 1 and "name its new place with --suite" in err
    assert call("show", run_id, "--runs", "home/runs", "--suite", "gone")[0] == 0


def test_problems_are_a_line_each(call: Callable[..., Done], tmp_path: Path) -> None:
    make_folder(tmp_path / "source")
    status, _, err = call("data", "import", "source", "--out", "photos")
    heading, *problems = err.splitlines()
    # Neither folder is an action of the paper's, and all eight of those are missing.
    assert status == 2 and heading == "error: source was not imported: 10 problems"
    assert len(problems) == 10 and problems[0].startswith("  jump/: unknown action 'jump'")
    assert not (tmp_path / "photos").exists()
    for words, reason in (
        (("--count", "0"), "neither a number from 1 on nor `any`"),
        (("--size", "640"), "'640' is not one of"),
        (("--suite", "puppets"), "are drawn"),
    ):
        status, _, err = call("data", "import", "source", *words)
        assert status == 2 and err.count("\n") == 1 and reason in err


def test_suites_are_listed_without_photographs(
    call: Callable[..., Done],
) -> None:
    status, out, _ = call("suites", "list")
    assert status == 0 and "photos-clip-v1" in out and "sd-2.1" in out


def test_the_check_knows_a_dataset_from_the_puppets(
    call: Callable[..., Done], tmp_path: Path
) -> None:
    suite = imported(tmp_path)
    assert suite.file is not None
    facts = suite.file.parent / "dataset.json"
    facts.write_text(json.dumps(json.loads(facts.read_text()) | {"fingerprint": "0"}))
    status, _, err = call("data", "check", suite.file.parent)
    assert status == 2 and "was changed since it was made" in err
