"""ActionBench: the benchmark for action customization of text-to-image models.

    import actionbench as ab

    result = ab.run("adi", suite="puppets", actions=["sit"])
    ab.report("runs")

Everything public is here and is imported when it is first used, so that `import actionbench` costs
nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from actionbench.api import Result, report, run
    from actionbench.errors import MethodError, UserError
    from actionbench.judge import Judge, Verdict
    from actionbench.method import Customization, Method
    from actionbench.runs.options import RunOptions
    from actionbench.settings import setting
    from actionbench.suite.items import ActionTask, Exemplar, Item
    from actionbench.suite.suite import Suite, get_suite

__all__ = [
    "ActionTask",
    "Customization",
    "Exemplar",
    "Item",
    "Judge",
    "Method",
    "MethodError",
    "Result",
    "RunOptions",
    "Suite",
    "UserError",
    "Verdict",
    "get_suite",
    "report",
    "run",
    "setting",
]

_HOMES = {
    "actionbench.api": ("Result", "report", "run"),
    "actionbench.errors": ("MethodError", "UserError"),
    "actionbench.judge": ("Judge", "Verdict"),
    "actionbench.method": ("Customization", "Method"),
    "actionbench.runs.options": ("RunOptions",),
    "actionbench.settings": ("setting",),
    "actionbench.suite.items": ("ActionTask", "Exemplar", "Item"),
    "actionbench.suite.suite": ("Suite", "get_suite"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'actionbench' has no attribute '{name}'")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
