"""The report page: what it holds, and what a browser makes of it."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from actionbench.errors import UserError
from actionbench.runs.store import Store
from actionbench.suite.suite import get_suite
from evaluation.measures.accuracy import outcomes
from leaderboards import build_board
from leaderboards.claims import add_claims, read_claims
from leaderboards.page import images, report
from leaderboards.page.plots import write_plots
from leaderboards.page.report import write_report
from tests.helpers.browser import REQUIRED, Visit, open_browser, wait_until
from tests.helpers.drawn_board import draw_board, picture
from tests.helpers.photographs import cloud
from tests.helpers.verdicts import first_actions, make_verdicts, save_run

METHODS = ("adi", "dreambooth", "stable-diffusion")
ACTIONS = ("salute", "sit", "handstand")
SUBJECTS = ("boy", "Batman", "panda", "polar bear")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    runs = tmp_path_factory.mktemp("page") / "runs"
    store = draw_board(runs, methods=METHODS, actions=ACTIONS, subjects=SUBJECTS)
    # The same images under a second judge, who sees one of them otherwise.
    (adi,) = (run_id for run_id in store.run_ids() if run_id.startswith("adi"))
    record, rows = store.read_record(adi), store.load_row_dicts(adi)
    for row in rows:
        row |= {"judge": "clip", "judge_fingerprint": "clip-1", "protocol": "puppets-clip-v1"}
    rows[0] |= {"action_correct": not rows[0]["action_correct"], "total_correct": False}
    judge = dataclasses.replace(record.judge, name="clip", fingerprint="clip-1")
    store.save_rows("adi-again", rows)
    again = dataclasses.replace(record, id="adi-again", judge=judge, protocol="puppets-clip-v1")
    store.save_record(again)
    build_board(store.root)  # how far images are from exemplars is measured once and kept
    return store


@pytest.fixture(scope="module")
def page(store: Store) -> Path:
    return write_report(build_board(store.root), store.root, store.root.parent / "out")


@pytest.fixture
def visit(browser: Any, page: Path) -> Iterator[Any]:
    opened: list[Visit] = []

    def visit(hash: str = "", file: Path = page, **window: Any) -> Any:
        opened.append(Visit(browser, file, hash, **window))
        return opened[-1].page

    yield visit
    for one in opened:
        assert not one.complaints and not one.outside
        one.close()


def group_of(page: Any, protocol: str) -> int:
    """Find a group's number, which its place on the board gives."""
    groups = json.loads(page.text_content("#data"))["groups"]
    (number,) = (g["number"] for g in groups if g["heading"].startswith(f"{protocol}:"))
    return int(number)


def counted(page: Any, group: int) -> tuple[int, int]:
    text = page.inner_text(f"#g{group}-gallery .count").replace(",", "")
    items, images = re.match(r"(\d+) items? of \d+ (\d+) image", text).groups()  # type: ignore
    return int(items), int(images)


def test_the_numbers_on_the_page_are_the_parquets(store: Store, visit: Any) -> None:
    page = visit()
    group = group_of(page, "puppets-v1")
    page.goto(f"{page.url}#g{group}-board")
    ids = [run_id for run_id in store.run_ids() if run_id != "adi-again"]
    verdicts = {run_id: store.load_rows(run_id) for run_id in ids}
    rows = page.locator(f"#g{group}-board tbody tr")
    assert rows.count() == len(ids) == len(METHODS)
    shown = {}
    for place in range(rows.count()):
        cells = rows.nth(place).locator("td, th").all_inner_texts()
        shown[cells[1]] = (int(cells[2]), cells[5].split()[0])
    for run_id, frame in verdicts.items():
        title = store.read_record(run_id).title
        total = outcomes(frame)["total"]
        assert shown[title] == (len(frame), f"{100 * total.mean():.1f}")
    # The gallery counts items, over all methods and for each.
    for verdict in ("neglect", "contamination", "right"):
        measure = "total" if verdict == "right" else verdict
        for run_id in ids:
            page.goto(
                f"{page.url.split('#')[0]}#g{group}-gallery?methods={run_id}&verdict={verdict}"
            )
            expected = int(outcomes(verdicts[run_id])[measure].sum())
            assert counted(page, group)[0] == expected, (run_id, verdict)
    page.goto(f"{page.url.split('#')[0]}#g{group}-gallery?action=sit&group=animal")
    assert counted(page, group) == (4, 12)
    first, second = (outcomes(verdicts[run_id])["total"] for run_id in ids[:2])
    differ = f"#g{group}-gallery?methods={ids[0]},{ids[1]}&verdict=differ"
    page.goto(page.url.split("#")[0] + differ)
    assert counted(page, group)[0] == int((first.to_numpy() != second.to_numpy()).sum())
    page.goto(page.url.split("#")[0] + f"#g{group}-gallery?verdict=judges")
    assert counted(page, group)[0] == 1
    # The heat map counts images.
    page.goto(page.url.split("#")[0] + f"#g{group}-heat?of={ids[0]}&measure=action")
    cells = page.locator(f"#g{group}-heat .heat-table td a").all_inner_texts()
    counts = [tuple(map(int, cell.split("/"))) for cell in cells]
    assert len(counts) == len(ACTIONS) * len(SUBJECTS)
    action = int(verdicts[ids[0]]["action_correct"].sum())
    assert [sum(column) for column in zip(*counts)] == [action, len(verdicts[ids[0]])]


def test_filters_make_permalinks_and_permalinks_filters(visit: Any) -> None:
    page = visit()
    group = group_of(page, "puppets-v1")
    page.goto(f"{page.url}#g{group}-gallery")
    gallery = page.locator(f"#g{group}-gallery")
    gallery.locator("[data-filter=action]").select_option("sit")
    gallery.locator("[data-filter=q]").fill("POLAR bear")
    page.wait_for_url(re.compile("q=POLAR"))
    assert counted(page, group) == (2, 6)
    link = page.url
    assert "action=sit" in link
    again = visit(link.split("#")[1])
    assert counted(again, group) == (2, 6)
    gallery.locator("button[type=reset]").click()
    wait_until(page, "!location.hash.includes('action')")
    assert counted(page, group) == (24, 72)

    gallery.locator("[data-filter=size]").select_option("l")
    gallery.locator("button[data-number]").first.click()
    assert page.locator("#zoom").is_visible()
    item = "item=" + quote("salute/boy/0", safe="")
    assert item in page.url.split("#")[1]
    again = visit(page.url.split("#")[1])
    title = again.locator("#zoom-title").inner_text()
    assert title == page.locator("#zoom-title").inner_text() and "salute, boy, #0" in title
    page.keyboard.press("Escape")
    assert not page.locator("#zoom").is_visible() and item not in page.url


def test_the_keyboard_alone_is_enough(visit: Any) -> None:
    page = visit()
    group = group_of(page, "puppets-v1")
    page.goto(f"{page.url}#g{group}-board")
    name = page.locator(f"#g{group}-board th[data-key=total] button")
    name.focus()
    page.keyboard.press("Enter")
    assert page.get_attribute(f"#g{group}-board th[data-key=total]", "aria-sort") == "descending"
    column = f"#g{group}-board tbody td.total b"
    totals = [float(text) for text in page.locator(column).all_inner_texts()]
    assert totals == sorted(totals, reverse=True)
    page.keyboard.press("Enter")
    assert [float(t) for t in page.locator(column).all_inner_texts()] == sorted(totals)

    page.keyboard.press("/")
    page.keyboard.type("panda")
    page.wait_for_url(re.compile("q=panda"))
    page.locator(f"#g{group}-gallery button[data-number]").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    title = page.locator("#zoom-title")
    second = title.inner_text()
    assert "salute, panda, #1" in second
    page.keyboard.press("ArrowLeft")
    assert title.inner_text() == second.replace("#1", "#0")
    page.keyboard.press("ArrowUp")
    assert title.inner_text().split(":")[0] != second.split(":")[0]
    page.keyboard.press("Escape")
    focused = page.evaluate("document.activeElement.dataset.number !== undefined")
    assert focused, "where it was opened from"
    page.locator(f"#g{group}-gallery tbody button.copy").first.click()
    wait_until(page, "document.documentElement.dataset.copied")
    copied = page.evaluate("document.documentElement.dataset.copied").splitlines()
    assert copied[0].startswith("| method | item | verdict |") and len(copied) == 2 + len(METHODS)


def test_every_image_shows_and_has_an_alternative_text(visit: Any) -> None:
    page = visit("g0-gallery", viewport={"width": 390, "height": 800}, color_scheme="dark")
    wait_until(
        page,
        "[...document.querySelectorAll('.sheet img')].slice(0, 6).every((i) => i.naturalWidth)",
    )
    bare = "[...document.images].filter((i) => !i.alt && !i.closest('button, dialog')).length"
    assert page.evaluate(bare) == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "phone-wide"


def test_images_beside_the_page(store: Store, visit: Any, tmp_path: Path) -> None:
    board = build_board(store.root)
    path = write_report(board, store.root, tmp_path, html="folder")
    assert path.stat().st_size < 2**20
    page = visit("g0-gallery", file=path)
    wait_until(page, "document.querySelector('.sheet .picture img').naturalWidth == 64")
    first = sorted(p.name for p in (tmp_path / images.FOLDER / "thumbs").iterdir())
    write_report(board, store.root, tmp_path, html="folder")
    assert first == sorted(p.name for p in (tmp_path / images.FOLDER / "thumbs").iterdir())
    assert all(re.fullmatch(r"[a-z0-9-]+\.webp", name) for name in first)


MARKS = ("rect", "line", "polygon", "circle", "text")
NASTY = [
    "</script><script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "\u202egnp.exe & \"quotes\" 'and' \u2066",
    "{{ 7*7 }}<svg onload=\"document.title='owned'\">" + "long" * 80,
    "../../../etc/passwd",
    "<!--<script> javascript:alert(1) | `a` [b](c)",
]


def test_a_hostile_run_is_inert(browser: Any, tmp_path: Path) -> None:
    """Names, captions, words of the judge and settings hold HTML, scripts and marks that turn the
    direction of text; nothing of it is executed, requested or taken for markup."""
    suite_folder = tmp_path / "suite"
    suite_folder.mkdir()
    store = draw_board(
        tmp_path / "runs", methods=METHODS[:2], actions=ACTIONS[:2], subjects=SUBJECTS[:3]
    )
    exemplars = pq.read_table(get_suite("puppets").exemplar_file).to_pylist()
    own = [row | {"caption": NASTY[n % len(NASTY)]} for n, row in enumerate(exemplars)
           if row["action"] in ACTIONS[:2]]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(own), suite_folder / "exemplars.parquet")
    subjects = [
        {"name": name, "category": "animal", "phrase": f"{NASTY[1]} {number}"}
        for number, name in enumerate(NASTY[:3])
    ]
    text = {
        "name": "hostile", "title": NASTY[0], "protocol": "hostile-v1", "model": "none",
        "judge": "puppet", "steps": 2, "guidance_scale": 2.0, "subjects": subjects,
        "actions": [
            {"name": name, "description": f"{NASTY[2]} {name}"} for name in ACTIONS[:2]
        ],
    }  # fmt: skip
    (suite_folder / "suite.yaml").write_text(json.dumps(text), "utf-8")
    suite = get_suite(str(suite_folder))
    named = dict(zip(SUBJECTS, NASTY))
    for number, run_id in enumerate(store.run_ids()):
        rows = store.load_row_dicts(run_id)
        for row in rows:
            row["subject"] = named[row["subject"]]
            row["action_seen"], row["subject_seen"] = NASTY[3], NASTY[5]
            row["category"] = NASTY[1]
        store.save_rows(run_id, rows)
        record = store.read_record(run_id)
        store.save_record(
            dataclasses.replace(
                record,
                title=NASTY[number],
                subjects=list(named.values())[:3],
                suite="hostile",
                suite_file=str(suite_folder / "suite.yaml"),
                suite_fingerprint=suite.fingerprint,
                changed_settings={NASTY[3]: NASTY[4]},
                command=["actionbench", *NASTY],
            )
        )
    path = write_report(build_board(store.root), store.root, tmp_path / "out")
    seen = Visit(browser, path, "g0-gallery")
    page = seen.page
    page.locator("button[data-number]").first.click()
    assert page.locator("#zoom").is_visible()
    assert page.locator("#zoom [data-strip=exemplars] img").count() == 10
    page.keyboard.press("Escape")
    for word in ("onerror", "svg"):
        page.locator("[data-filter=q]").fill(word)
        page.wait_for_url(re.compile(f"q={word}"))
    page.locator("#g0-heat select[data-heat=minus]").select_option(index=1)
    assert page.title() != "owned"
    assert page.locator("img[src=x], main script, [onerror], [onload]").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "long names wrap"
    text = page.inner_text("body")
    assert "{{ 7*7 }}" in text and "<svg onload" in text, "shown as they are"
    assert not seen.outside and not seen.complaints
    seen.close()
    for plot in write_plots(build_board(store.root), tmp_path):
        if plot.suffix == ".png":
            continue
        tags = {element.tag.rpartition("}")[2] for element in ElementTree.parse(plot).iter()}
        assert tags <= {
            "svg",
            "title",
            "desc",
            "style",
            "rect",
            "line",
            "polygon",
            "circle",
            "text",
        }
        assert "\u202e" not in plot.read_text("utf-8")


def test_a_page_is_the_same_each_time_and_asks_for_nothing(page: Path, store: Store) -> None:
    text = page.read_text("utf-8")
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    rules = policy[1].replace("&#39;", "'")
    assert rules.startswith("default-src 'none'; img-src data:;") and "unsafe" not in rules
    outside = re.sub(r"http://www\.w3\.org/2000/svg", "", text)
    assert not re.search(r"(?:src|href|url\()=?[\"']?https?:", outside)
    again = write_report(build_board(store.root), store.root, page.parent.parent / "again")
    assert again.read_text("utf-8") == text


def test_runs_without_images_and_with_some_missing(tmp_path: Path) -> None:
    run_id = save_run(tmp_path / "runs", make_verdicts(first_actions([0]), method="adi"))
    store = Store(tmp_path / "runs")
    path = write_report(build_board(store.root), store.root, tmp_path / "out")
    assert "adi: no image is kept (images/adi/" in path.read_text("utf-8")
    file = store.root / store.load_rows(run_id)["image"][5]
    file.parent.mkdir(parents=True)
    picture("sit", "boy", 0).save(file)
    path = write_report(build_board(store.root), store.root, tmp_path / "out")
    assert "adi: 367 of 368 images are missing" in path.read_text("utf-8")


def test_each_seed_says_what_made_it_and_claims_say_what_became_of_them(
    browser: Any, tmp_path: Path
) -> None:
    root = tmp_path / "runs"
    for method, right in (("adi", range(8)), ("p-plus", range(1))):
        for seed in range(2):
            run_id = save_run(root, make_verdicts(first_actions(right), method=method), seed=seed)
            store = Store(root)
            record = store.read_record(run_id)
            machine = {
                "command": ["actionbench", "run", f"--seed={seed}"],
                "versions": {"torch": f"2.{seed}"},
                "git": {"commit": f"commit-{seed}"},
                "changed_settings": {},
            }
            store.save_record(dataclasses.replace(record, **machine))  # type: ignore[arg-type]
    claims = tmp_path / "claims.yaml"
    claim = {
        "name": "first", "claim": "ADI is above <b>P+</b>.", "test": "difference",
        "measure": "total", "above": ["adi"], "below": ["p-plus"], "of": "actions at large",
        "unit": "action", "n": {"actions": 8, "seeds": 2}, "suite": "puppets",
        "profile": "tuned", "block": "own",
    }  # fmt: skip
    turned = {**claim, "name": "second", "above": ["p-plus"], "below": ["adi"]}
    later = {**claim, "name": "third", "suite": "puppets-48"}
    claims.write_text(json.dumps([claim, turned, later]), "utf-8")
    board = add_claims(build_board(root), read_claims(claims))
    seen = Visit(browser, write_report(board, root, tmp_path / "out"), "g0-board")
    page, (group,) = seen.page, board.groups

    made = page.locator("#g0-provenance-0 dd").all_text_contents()
    adi = next(row for row in group.rows if row.method == "adi")
    for number, run_id in enumerate(adi.run_ids):
        for fact in (f"--seed={number}", f"torch 2.{number}", f"commit-{number}"):
            assert [text for text in made if fact in text and run_id in text], (fact, made)
    assert [text for text in made if text == "tiny model-1"], "what all share stands once"

    assert group.power is not None
    alone, family = group.power.smallest("actions at large") or (math.nan, math.nan)
    assert alone == family, "one comparison is no family"
    tile = page.locator("#g0-board .tiles div", has_text="smallest difference")
    assert f"{100 * alone:.1f} points" in tile.inner_text()

    assert page.locator("#g0-board tbody tr", has_text="2 fits each").count() == 2
    rows = page.locator("#claims tbody tr").all_inner_texts()
    assert len(rows) == 3 and "ADI is above <b>P+</b>." in rows[0]
    for row, verdict in zip(rows, ("✓ kept", "✗ failed", "? cannot be told"), strict=True):
        assert verdict in row
    page.locator("nav [data-section=claims]").click()
    assert page.url.endswith("#claims") and not seen.complaints and not seen.outside
    seen.close()


PAPER = "getComputedStyle(document.body).backgroundColor"


def test_light_and_dark_by_system_by_choice_and_on_paper(browser: Any, page: Path) -> None:
    light = Visit(browser, page, color_scheme="light")
    dark = Visit(browser, page, color_scheme="dark")
    colours = [one.page.evaluate(PAPER) for one in (light, dark)]
    assert colours[0] != colours[1]
    for one, turned in ((light, colours[1]), (dark, colours[0])):
        one.page.locator("#theme").click()
        assert one.page.evaluate(PAPER) == turned
        one.page.locator("#theme").click()
    dark.page.emulate_media(media="print")
    ink = dark.page.evaluate("getComputedStyle(document.body).color")
    assert (dark.page.evaluate(PAPER), ink) == ("rgb(255, 255, 255)", "rgb(0, 0, 0)")
    for one in (light, dark):
        assert not one.complaints
        one.close()


def test_a_damaged_image_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    save_run(tmp_path / "runs", make_verdicts(first_actions([0]), method="adi", actions=1))
    root = tmp_path / "runs"
    board = build_board(root)
    file = root / board.groups[0].rows[0].verdicts["image"][0]
    file.parent.mkdir(parents=True)
    picture("sit", "boy", 0).save(file)
    for html in ("file", "folder"):
        write_report(board, root, tmp_path / html, html=html)
        before = {p: p.read_bytes() for p in (tmp_path / html).rglob("*") if p.is_file()}
        file.write_bytes(file.read_bytes()[:200])
        with pytest.raises(UserError, match="damaged") as raised:
            write_report(board, root, tmp_path / html, html=html)
        assert str(file) in str(raised.value)
        after = {p: p.read_bytes() for p in (tmp_path / html).rglob("*") if p.is_file()}
        assert before == after
        picture("sit", "boy", 0).save(file)
    bomb = Image.new("1", (5000, 5000))
    bomb.save(file)
    with pytest.raises(UserError, match="larger than any image here"):
        write_report(board, root, tmp_path / "bomb")
    assert not (tmp_path / "bomb").exists()


def test_images_outside_of_the_runs_folder_are_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    verdicts = make_verdicts(first_actions([0]))
    run_id = save_run(tmp_path, verdicts)
    for name in ("../../secret.png", "/etc/hostname", "images/../../x.png"):
        store.save_rows(run_id, verdicts.assign(image=name).to_dict("records"))
        with pytest.raises(UserError, match="images outside of the runs folder"):
            build_board(tmp_path)


def test_photographs_lie_beside_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_run(tmp_path / "runs", make_verdicts(first_actions([0]), actions=1, subjects=2))
    root = tmp_path / "runs"
    board = build_board(root)
    for number, name in enumerate(board.groups[0].rows[0].verdicts["image"]):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        cloud(number, 512, 512).save(root / name)
    path = write_report(board, root, tmp_path / "out")
    folder = path.parent / images.FOLDER
    assert len(list((folder / "full").iterdir())) == len(list((folder / "thumbs").iterdir())) == 4
    with Image.open(next((folder / "thumbs").iterdir())) as thumb:
        assert thumb.size == (256, 256) and thumb.format == "WEBP"
    (folder / "made-by-actionbench.txt").unlink()
    with pytest.raises(UserError, match="holds other files"):
        write_report(board, root, tmp_path / "out")
    path = write_report(board, root, tmp_path / "one", html="file")
    assert not (path.parent / images.FOLDER).exists()
    monkeypatch.setattr(report, "MOST_INSIDE", 3)
    with pytest.raises(UserError, match="--html folder"):
        write_report(board, root, tmp_path / "two", html="file")


def test_a_missing_browser_skips_only_where_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setitem(os.environ, REQUIRED, "1")
    with pytest.raises(pytest.fail.Exception, match="apt-get install chromium"), open_browser():
        pass
    monkeypatch.delitem(os.environ, REQUIRED)
    with pytest.raises(pytest.skip.Exception, match="apt-get install chromium"), open_browser():
        pass


def test_the_kept_board_has_a_page_without_images(tmp_path: Path) -> None:
    kept = Path(__file__).parents[2] / "leaderboards" / "puppets-v1"
    board = build_board(kept)
    path = write_report(board, kept, tmp_path)
    text = path.read_text("utf-8")
    assert text.count("no image is kept") == 8 and len(text) < 2**20
    frame = pd.read_csv(kept / "board.csv")
    assert frame["title"].map(lambda title: title in text).all()
    assert {p.suffix for p in write_plots(board, tmp_path)} == {".svg", ".png"}


def test_a_board_of_rows_that_fit_nothing_and_an_empty_one(browser: Any, tmp_path: Path) -> None:
    """Neither has a plot of costs; the second has no group at all."""
    run_id = save_run(tmp_path / "runs", make_verdicts(first_actions([0]), actions=1, subjects=2))
    store = Store(tmp_path / "runs")
    record = store.read_record(run_id)
    for costs in record.costs.values():
        costs.fit = None
    store.save_record(record)
    for runs in (store.root, tmp_path / "none"):
        page = write_report(build_board(runs), runs, tmp_path / f"page-{runs.name}")
        seen = Visit(browser, page)
        seen.page.keyboard.press("/")
        assert not seen.complaints and not seen.page.locator("[data-section=cost]").is_visible()
        seen.close()
