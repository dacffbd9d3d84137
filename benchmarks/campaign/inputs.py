"""Bad inputs of every kind, made from good ones by seeded changes."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.campaign.world import Done, World, leftovers, rng, table
from tests.helpers.photographs import cloud

ODD = ("", " ", "\0", "-", "--", "../..", "/", "[/x]", "熊猫", "\u202e", "a" * 300, "nan", "inf",
       "-1", "1e999", "0", "99999999999999999999", "null", "{}", "'", '"', ",", "a,b", "=", "x=1",
       "~", "*", "\n", "\ud83d")  # fmt: skip
"""Words that programs stumble over."""


def cases(count: int) -> Iterator[tuple[str, str]]:
    """Yield id and kind of each case."""
    for number in range(count):
        yield f"input-{number:04}", [*KINDS][number % len(KINDS)]


def run_case(world: World, seed: int, case: str, kind: str) -> dict[str, Any]:
    """Make one bad input, give it to a command, and judge how that ended."""
    random = rng(seed, case)
    folder = world.folder(case, kind)
    what, words, right = KINDS[kind](world, folder, random)
    done = world.call(folder, words)
    problems = form(done)
    problems += [f"left behind: {name}" for name in leftovers(folder)]
    if done.status == 0:
        problems += right(done)
    if not problems:
        world.clear(case)
    return {
        "kind": "input", "group": kind, "what": f"{kind}: {what}", "status": done.status,
        "words": [word.encode("unicode_escape").decode() for word in words],
        "message": done.err.strip()[:2000], "problems": problems[:5],
    }  # fmt: skip


LIBRARY = re.compile(r"object at 0x|Traceback|<class '|Error\(|\b(Key|Type|Attribute|Index)Error\b")
"""What only a library's exceptions say."""


def form(done: Done) -> list[str]:
    """Return what is wrong with how a command ended: its status, and the form of its messages."""
    if done.status is None:
        return ["did not end in time"]
    if done.status not in (0, 1, 2):
        return [f"status {done.status}: {done.err.strip()[-800:]}"]
    problems = []
    if found := LIBRARY.search(done.out + done.err):
        problems.append(f"a library's words ({found.group()}): {done.err.strip()[-800:]}")
    errors = done.err.splitlines()
    heads = [line for line in errors if line.startswith("error: ")]
    if done.status == 2:
        if not heads and (done.out + done.err).startswith("Usage: "):
            return problems  # a group of commands without one of them: its help
        if len(heads) != 1:
            problems.append(f"{len(heads)} messages: {done.err[-800:]}")
        elif heads[0] != errors[-1] and not re.search(r": \d+ problems?$", heads[0]):
            problems.append(f"lines after the message: {done.err[-800:]}")
    for line in heads:
        if not 20 <= len(line) <= 1200:
            problems.append(f"a message of {len(line)} signs: {line[:300]}")
        # What and where: a file, an option or a name in quotes; else in the lines below.
        if not line.endswith(("problem", "problems")) and not re.search(r"[/'\"]|--|\w\.\w", line):
            problems.append(f"a message that names nothing: {line}")
    return problems


# Each returns what it did, the command, and what must hold if that ends with status 0.
Made = tuple[str, list[str], Callable[[Done], list[str]]]


def _anything(_: Done) -> list[str]:
    return []


def _words(world: World, folder: Path, random: Random) -> Made:
    """A good command line with a word replaced, dropped, doubled or added."""
    commands = [
        [*world.words("run"), "--dry-run"], ["report", "--runs", "runs"], ["runs", "list"],
        ["suites", "list"], ["methods", "list", "--settings"], ["judges", "list"],
        ["show", "slow", "--runs", "runs"], ["diff", "a", "b"], ["data", "check", "made"],
        ["judges", "agree", "--runs", "runs"], ["doctor", "--method", "slow", *_model(world)],
        ["data", "import", "source", "--out", "made"], ["tune", "slow", "--dry-run"],
        ["methods", "new", "mine"], ["data", "export", "slow", "--runs", "runs"],
    ]  # fmt: skip
    words = [*random.choice(commands)]
    odd, where = random.choice(ODD), random.randrange(len(words))
    how = random.choice(("replaced", "dropped", "doubled", "added", "options"))
    if how == "replaced":
        words[where] = odd
    elif how == "dropped":
        del words[where]
    elif how == "doubled":
        words.insert(where, words[where])
    elif how == "added":
        words.insert(where + 1, odd)
    else:
        option = random.choice(
            ("--actions", "--subjects", "--set", "--seed", "--runs", "--suite", "--judge",
             "--images-per-pair", "--device", "--dtype", "--judge-set", "--profile", "--out")
        )  # fmt: skip
        words += [option, odd]
    # Arguments of a process hold no zero byte, and are UTF-8 or surrogates of its bytes.
    words = [word.replace("\0", "").replace("\ud83d", "\udcff") for word in words]
    return how, words, _anything


def _model(world: World) -> list[str]:
    return ["--model", str(world.base / "model")]


def _bytes(data: bytes, random: Random) -> tuple[str, bytes]:
    """Damage a file's bytes."""
    how = random.choice(("truncated", "emptied", "flipped", "zeros", "doubled", "text"))
    at = random.randrange(max(len(data), 1))
    if how == "truncated":
        return how, data[:at]
    if how == "emptied":
        return how, b""
    if how == "flipped":
        changed = bytearray(data)
        for _ in range(min(8, len(data))):
            changed[random.randrange(len(data))] ^= 1 << random.randrange(8)
        return how, bytes(changed)
    if how == "zeros":
        return how, data[:at] + bytes(min(64, len(data) - at)) + data[at + 64 :]
    return how, data + data if how == "doubled" else b"\xff\xfenot what you think\x00"


def _lines(text: str, random: Random) -> tuple[str, str]:
    """Change a text by its lines and words."""
    lines = text.split("\n")
    at = random.randrange(len(lines))
    how = random.choice(("dropped", "doubled", "odd word", "indented", "joined", "odd line"))
    if how == "dropped":
        del lines[at]
    elif how == "doubled":
        lines.insert(at, lines[at])
    elif how == "odd word":
        parts = re.split(r"([ :,{}]+)", lines[at])
        parts[random.randrange(len(parts))] = random.choice(ODD[:-1])
        lines[at] = "".join(parts)
    elif how == "indented":
        lines[at] = random.choice((" ", "\t", "    ")) + lines[at]
    elif how == "joined" and at + 1 < len(lines):
        lines[at] += lines.pop(at + 1)
    else:
        lines.insert(at, random.choice(("- ", "? [", "&a *a", "!!python/object:os.x {}", "%", '"')))
    return how, "\n".join(lines)


def _yaml(world: World, folder: Path, random: Random) -> Made:
    file = folder / "two-actions.yaml"
    if random.random() < 0.3:
        how, data = _bytes(file.read_bytes(), random)
        file.write_bytes(data)
    else:
        how, text = _lines(file.read_text("utf-8"), random)
        file.write_text(text, "utf-8")
    return how, world.words("import"), _whole(folder)


def _whole(folder: Path) -> Callable[[Done], list[str]]:
    """What an import that ended well must have made: every photograph, each with a caption."""

    def check(_: Done) -> list[str]:
        files = [*(folder / "made").rglob("*.parquet")]
        if not files:
            return ["status 0, and no dataset"]
        tables = [pq.read_table(file) for file in files]
        rows = [r for t in tables if "caption" in t.column_names for r in t.to_pylist()]
        problems = [] if len(rows) == 4 else [f"status 0 with {len(rows)} photographs of 4"]
        for row in rows:
            caption = str(row.get("caption", ""))
            if not caption.strip() or caption in ("None", "nan", "[]", "{}"):
                problems.append(f"status 0 with the caption {caption!r}")
        return problems

    return check


def _captions(world: World, folder: Path, random: Random) -> Made:
    names = [f"{action}/{n}.jpg" for action in ("wave", "jump") for n in range(2)]
    texts = [
        f"a man who {'waves' if 'wave' in name else 'jumps high'}, {name[-5]}" for name in names
    ]
    kind = random.choice(("captions.csv", "metadata.jsonl", "txt"))
    if kind == "txt":
        for name, text in zip(names, texts, strict=True):
            (folder / "source" / name).with_suffix(".txt").write_text(text)
        file = (folder / "source" / random.choice(names)).with_suffix(".txt")
    else:
        file = folder / "source" / kind
        if kind == "captions.csv":
            rows = ["file_name,text", *(f'{n},"{t}"' for n, t in zip(names, texts, strict=True))]
        else:
            rows = [
                json.dumps({"file_name": n, "text": t}) for n, t in zip(names, texts, strict=True)
            ]
        file.write_text("\n".join(rows) + "\n")
    if random.random() < 0.3:
        how, data = _bytes(file.read_bytes(), random)
        file.write_bytes(data)
    else:
        how, text = _lines(file.read_text("utf-8"), random)
        file.write_text(text, "utf-8")
    return f"{kind} {how}", world.words("import"), _whole(folder)


FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "ICO", "TGA", "JPEG2000")


def _pictures(world: World, folder: Path, random: Random) -> Made:
    target = folder / "source/wave/0.jpg"
    kind = random.choice(FORMATS)
    size = random.choice(((320, 280), (320, 280), (320, 280), (1, 1), (1, 4000), (0, 0)))
    buffer = io.BytesIO()
    picture = cloud(random.randrange(100, 10**6)).resize(max(size, (1, 1)))
    picture.save(buffer, kind)
    how, data = _bytes(buffer.getvalue(), random)
    if size == (0, 0) and kind == "BMP":
        # A head that claims 2**31 by 2**31 pixels.
        data, how = data[:18] + b"\xff\xff\xff\x7f" * 2 + data[26:], how + ", absurd size"
    suffix = random.choice((target.suffix, f".{kind.lower()}", ".png"))
    target.unlink()
    target.with_suffix(suffix).write_bytes(data)
    return f"{kind} {how}", world.words("import"), _anything


def _damage(root: Path, random: Random) -> tuple[str, bool]:
    """Damage a file below a folder; return how, and whether its JSON was changed."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    file = random.choice(files)
    name = file.relative_to(root).as_posix()
    how = random.choice(("bytes", "swapped", "removed", "folder", "key"))
    if how == "key" and file.suffix == ".json":
        try:
            value = json.loads(file.read_text("utf-8"))
        except ValueError:
            value = None
        if isinstance(value, dict) and value:
            key, node = _key(value, random)
            change = random.choice(("dropped", "null", "list", "text", "number", "other format"))
            if change == "dropped":
                del node[key]
            elif change == "other format" and "format" in value:
                value["format"] = 99
            else:
                node[key] = {"null": None, "list": [1], "text": "x", "number": -7}.get(change, {})
            file.write_text(json.dumps(value))
            return f"{name}: {key} {change}", True
    if how == "swapped":
        # With another file of its kind, where there is one: contents that are well formed.
        others = [f for f in files if f.suffix == file.suffix and f != file] or files
        other = random.choice(others)
        one, two = file.read_bytes(), other.read_bytes()
        file.write_bytes(two)
        other.write_bytes(one)
        return f"{name} swapped with {other.relative_to(root).as_posix()}", False
    if how == "removed":
        file.unlink()
        return f"{name} removed", False
    if how == "folder":
        file.unlink()
        file.mkdir()
        return f"{name} became a folder", False
    how, data = _bytes(file.read_bytes(), random)
    file.write_bytes(data)
    return f"{name} {how}", False


def _key(value: dict[str, Any], random: Random) -> tuple[str, dict[str, Any]]:
    node = value
    while True:
        key = random.choice([*node])
        if not isinstance(node[key], dict) or not node[key] or random.random() < 0.3:
            return key, node
        node = node[key]


def _models(world: World, folder: Path, random: Random) -> Made:
    shutil.copytree(world.base / "model", folder / "model")
    how, _ = _damage(folder / "model", random)

    def right(done: Done) -> list[str]:
        expected, found = world.facts("run")[1], table(done.out)
        same_run = world.run_id in found
        # Another fingerprint is another model, which may have another table.
        return (
            [f"the same run with another table: {found}"] if same_run and found != expected else []
        )

    return how, world.words("run", model=folder / "model"), right


def _stores(world: World, folder: Path, random: Random) -> Made:
    name = random.choice(("run", "run", "report", "judge", "list", "show"))
    if name == "run" and random.random() < 0.6:
        # What is stored must be taken up again, not only its summary.
        shutil.rmtree(folder / "runs/runs")
    how, changed = _damage(folder / "runs", random)
    run_id = world.run_id
    words = {
        "list": ["runs", "list", "--runs", "runs"],
        "show": ["show", run_id, "--runs", "runs"],
    }.get(name) or world.words(name)

    def right(done: Done) -> list[str]:
        if changed or name not in ("run", "report", "judge"):
            return []  # a record whose words were changed within their form says other words
        expected, found = world.facts(name)[1], table(done.out)
        if name == "report" and run_id not in (folder / "runs/report/board.csv").read_text():
            return [f"the run is not on the board, exit 0: {done.err[-300:]}"]
        return [] if found == expected else [f"another table: {found!r}, not {expected!r}"]

    return f"{name}: {how}", words, right


def _datasets(world: World, folder: Path, random: Random) -> Made:
    """A table of photographs whose columns or values are wrong."""
    file = folder / "made/photos.parquet"
    file.parent.mkdir()
    rows = pq.read_table(world.base / "exemplars.parquet").to_pylist()
    key = random.choice([*rows[0]])
    value = random.choice((None, "x", 7, [1.0], {"a": 1}))
    how = random.choice(("value", "dropped"))
    for row in rows:
        if how == "value":
            row[key] = value
        else:
            del row[key]
    pq.write_table(pa.Table.from_pylist(rows), file)
    shutil.copy(world.base / "two-actions.yaml", folder / "made/suite.yaml")
    words = random.choice((
        ["data", "check", "made"],
        ["run", "--suite", "made", "--method", "slow", *_model(world), "--dry-run"],
    ))  # fmt: skip
    return f"{key} {how} {value!r}", words, _anything


KINDS: dict[str, Callable[[World, Path, Random], Made]] = {
    "words": _words, "yaml": _yaml, "captions": _captions, "pictures": _pictures,
    "models": _models, "store": _stores, "datasets": _datasets,
}  # fmt: skip
