"""The results of cases: a file that survives kills, and the summary."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any


class Results:
    """The results by case: a line of JSON each, so that a killed campaign goes on."""

    def __init__(self, file: Path, seed: int) -> None:
        self.file, self.seed = file, seed
        self.by_case: dict[str, dict[str, Any]] = {}
        for line in file.read_text().split("\n") if file.exists() else ():
            # The last line of a killed campaign may be cut; its case is run again.
            if line.endswith("}"):
                result = json.loads(line)
                if result["seed"] == seed:
                    self.by_case[result["case"]] = result

    def add(self, result: dict[str, Any]) -> None:
        result["seed"] = self.seed
        self.by_case[result["case"]] = result
        with self.file.open("a") as file:
            file.write("\n" * (file.tell() > 0) + json.dumps(result))


def summary(results: list[dict[str, Any]]) -> str:
    """Return the campaign's summary as Markdown."""
    lines = ["", "| Cases | Number | Struck | Failed | Not done here |", "|---|--:|--:|--:|--:|"]
    groups: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        groups.setdefault(_group(result), []).append(result)
    for group, members in sorted(groups.items()):
        struck = sum(r.get("killed", True) for r in members)
        failed = sum(bool(r["problems"]) for r in members)
        skipped = sum(bool(r.get("skipped")) for r in members)
        lines.append(f"| {group} | {len(members)} | {struck} | {failed} | {skipped} |")
    endings = Counter(f"{r['status']}" for r in results if r["kind"] == "input")
    if endings:
        said = ", ".join(f"{number} with {status}" for status, number in sorted(endings.items()))
        lines += ["", f"Bad inputs ended with status: {said}."]
    measured = [f"{r['what']}: {r['measured']}" for r in results if "measured" in r]
    lines += ["", *measured] if measured else []
    skipped_for = {
        f"not done here: {r['what']}: {r['skipped']}" for r in results if r.get("skipped")
    }
    lines += ["", *sorted(skipped_for)] if skipped_for else []
    failures = [r for r in results if r["problems"]]
    total = sum(r["seconds"] for r in results)
    lines += ["", f"{len(results)} cases in {total:.0f} s, {len(failures)} failed."]
    lines += [f"FAILED {r['case']} ({r['what']}): {r['problems'][0][:300]}" for r in failures]
    return "\n".join(lines)


def _group(result: dict[str, Any]) -> str:
    if result["kind"] == "kill":
        return f"kill -9 in {result['command']}, {result['stage']}"
    return f"{result['kind']}: {result.get('group', result['what'])}"
