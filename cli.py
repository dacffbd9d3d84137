"""The command `actionbench`. Each command's body calls plain functions; heavy imports wait."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from actionbench.errors import Problems, UserError
from actionbench.files.models import BATCH_SIZE

if TYPE_CHECKING:
    from actionbench.device import Resources
    from actionbench.judge import Judge
    from actionbench.method import Method
    from actionbench.runs.campaign import Outcome, Setup
    from actionbench.runs.execute import Plan, RunResult
    from evaluation.experiments.ablation import Ablation
    from evaluation.experiments.tuning import Tuning
    from evaluation.judges.calibration import Calibration

RUNS = "runs"
FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)
DEVICE = click.Choice(["auto", "cpu", "cuda"])

runs_option = click.option(
    "--runs", default=RUNS, show_default=True, type=click.Path(path_type=Path), metavar="DIR",
    help="Folder of the stored runs.",
)  # fmt: skip
device_option = click.option("--device", default="auto", show_default=True, type=DEVICE)


def main() -> None:
    """Run the command line.

    Exit status: 0 done, 1 done but for what failed, 2 a mistake told in one line, 130 interrupted.
    """
    # What a library will change some day is its callers' matter, not the user's.
    warnings.filterwarnings("ignore", category=FutureWarning, module="diffusers")
    try:
        status = cli.main(standalone_mode=False) or 0
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        status = error.exit_code
    except click.ClickException as error:
        status = _tell(error.format_message())
    except Problems as error:
        status = _tell(error.heading)
        for line in error.lines:
            click.echo(f"  {' '.join(line.split())}", err=True)
    except UserError as error:
        status = _tell(str(error))
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted; the same command goes on from here", err=True)
        status = 130
    except BrokenPipeError:  # the reader (`| head`) has gone: nobody is left to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    except OSError as error:  # a full disk, no permission: the system's own words
        reason = error.strerror or str(error) or type(error).__name__
        status = _tell(f"{error.filename}: {reason}" if error.filename else reason)
    sys.exit(status)


def _tell(message: str) -> int:
    click.echo(f"error: {' '.join(message.split())}", err=True)
    return 2


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="actionbench")
def cli() -> None:
    """ActionBench: teach a text-to-image model an action from ten images, and measure it.

    Begin with `actionbench run --method adi`, then `actionbench report`.
    """


def _words(_context: click.Context, _option: click.Parameter, text: str | None) -> list[str] | None:
    if text is None:
        return None
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise click.BadParameter("is empty")
    return words


Command = Callable[..., Any]


def subjects_option(default: str = "") -> Callable[[Command], Command]:
    return click.option(
        "--subjects", callback=_words, metavar="A,B",
        help=f"Only these, or groups of them (human, celebrity, animal){default}.",
    )  # fmt: skip


images_option = click.option(
    "--images-per-pair", default=2, show_default=True, type=click.IntRange(1, 1000)
)


def suite_option(default: str) -> Callable[[Command], Command]:
    return click.option(
        "--suite", "suite_name", default=default, show_default=True, metavar="NAME_OR_PATH",
        help="A suite's name, or your own: its folder or YAML file.",
    )  # fmt: skip


set_option = click.option(
    "--set", "given", multiple=True, metavar="KEY=VALUE",
    help="A setting, where one method is named; see `actionbench list methods --settings`.",
)  # fmt: skip


judge_set_option = click.option(
    "--judge-set", "judge_given", multiple=True, metavar="KEY=VALUE",
    help="A setting of the judge; see `actionbench list judges --settings`.",
)  # fmt: skip


_SETUP_OPTIONS = (
    click.option("--model", metavar="NAME",
                 help="Base model, instead of the suite's own: sd-2.1, sd-2.1-base, sd-1.5, a "
                 "folder or a Hub id."),
    device_option,
    click.option("--dtype", default="float32", show_default=True,
                 type=click.Choice(["float32", "float16", "bfloat16"])),
    click.option("--batch-size", default=BATCH_SIZE, show_default=True, type=click.IntRange(1),
                 help="Images drawn at once: speed and memory, no more."),
    click.option("--gradient-checkpointing", is_flag=True,
                 help="Fits take less memory and compute their forward pass twice."),
    click.option("--vae-slicing", is_flag=True,
                 help="Encode and decode images one by one: less memory."),
    click.option("--offload", is_flag=True,
                 help="The text encoder waits in main memory while it has nothing to do."),
    click.option("--compile", is_flag=True,
                 help="Compile the UNet's blocks: a wait at first, for quicker steps."),
    runs_option,
    click.option("--judge", "judge_name", metavar="NAME",
                 help="Judge, instead of the suite's own."),
    judge_set_option,
)  # fmt: skip
"""What a run is made with and where it is stored: what `_setup` takes beside data and items."""


def setup_options(command: Command) -> Command:
    for option in reversed(_SETUP_OPTIONS):
        command = option(command)
    return command


@cli.command()
@click.option("--method", "methods", required=True, callback=_words, metavar="NAME[,NAME...]",
              help="Systems to run, or `all`; see `actionbench list methods`.")  # fmt: skip
@suite_option("puppets")
@click.option("--actions", callback=_words, metavar="A,B", help="Only these of the suite.")
@subjects_option()
@images_option
@click.option("--seed", default=0, show_default=True)
@set_option
@setup_options
@click.option("--dry-run", is_flag=True, help="Say what is to do and what is there; do nothing.")
def run(
    methods: list[str], seed: int, given: tuple[str, ...], dry_run: bool, **choices: Any
) -> None:
    """Fit, draw and judge; what is stored already is not done again.

    Several methods run one after another. One that fails is told at the end, with status 1, and
    the others go on.
    """
    from actionbench.commands.display import RunView
    from actionbench.registry import get_method
    from actionbench.runs.campaign import execute_each

    every = methods == ["all"]
    names = _method_names(methods, given)
    setup = _setup(**choices)
    failed: list[str] = []
    plans = []
    # All are planned before one begins: a mistake in the last shows at once, not after hours.
    for name in names:
        try:
            plans.append(setup.plan(get_method(name), given, seed))
        except UserError as error:
            if not every:
                raise
            # Nobody asked for it by name: the others can do without it.
            failed.append(f"{name}: {error}")
    if dry_run:
        for plan in plans:
            _print_work(plan)
    elif len(plans) == 1 and not failed:
        from actionbench.runs.execute import execute

        with RunView(plans[0]) as view:
            result = execute(plans[0], view)
        _print_result(plans[0], result)
    else:
        for outcome in execute_each(plans, RunView):
            if outcome.result is None:
                failed.append(_told(outcome))
            else:
                _print_result(outcome.plan, outcome.result)
    _end_with(failed)


def _method_names(methods: list[str], given: Sequence[str]) -> list[str]:
    """The methods that are named, each once. UserError where `given` settings are for several."""
    from actionbench.registry import method_names

    names = method_names() if methods == ["all"] else list(dict.fromkeys(methods))
    if given and len(names) > 1:
        raise UserError(
            "--set is for one method, for methods have settings of their own: name it with --method"
        )
    return names


def _setup(
    suite_name: str, model: str | None, judge_name: str | None, judge_given: Sequence[str],
    **choices: Any,
) -> Setup:  # fmt: skip
    from actionbench.commands.display import JobProgress
    from actionbench.files.models import resolve_model
    from actionbench.registry import make_judge
    from actionbench.runs.campaign import Setup
    from actionbench.suite.suite import get_suite

    suite = get_suite(suite_name)
    judge = make_judge(judge_name or suite.judge, suite, judge_given)
    resources = _resources(choices)
    _ = suite.tasks  # missing exemplars are told before a model is fetched
    with JobProgress() as progress:
        source = resolve_model(model or suite.model, progress)
    return Setup(
        suite=suite,
        source=source,
        judge=judge,
        resources=resources,
        command=["actionbench", *sys.argv[1:]],
        **choices,
    )


def _resources(choices: dict[str, Any]) -> Resources:
    """Out of the options, where they are then no longer."""
    from actionbench.device import Resources

    return Resources(**{field.name: choices.pop(field.name) for field in fields(Resources)})


def _told(outcome: Outcome) -> str:
    """Tell of a failure where it happens, for what follows may take hours; a defect at length."""
    told = f"{outcome.failure} (run {outcome.plan.run_id})"
    click.echo(f"{outcome.trace}{told}", err=True)
    return told


def _end_with(failed: Sequence[str]) -> None:
    for line in failed:
        click.echo(f"failed: {line}", err=True)
    if failed:
        raise click.exceptions.Exit(1)


def _print_work(plan: Plan) -> None:
    click.echo(
        f"{plan.run_id}: {plan.method.name} on {plan.suite.name}, "
        f"model {plan.source.name} {plan.source.fingerprint}, judge {plan.judge.name}"
    )
    for work in plan.work():
        click.echo(f"  {work.what:<9} {work.to_do:>5} to do, {work.total - work.to_do:>5} present")


def _print_result(plan: Plan, result: RunResult) -> None:
    from actionbench.commands.display import run_line, shows_table, total_row

    if not shows_table():
        click.echo(run_line(total_row(result.rows)))
    where = "" if str(plan.store.root) == RUNS else f" --runs {plan.store.root}"
    click.echo(f"run {result.run_id}, stored in {result.folder}")
    click.echo(f"next: actionbench report{where} / actionbench show {result.run_id}{where}")


@cli.command(short_help="Whether a run can work here, and what it will take.")
@click.option("--method", "methods", default="all", show_default=True, callback=_words,
              metavar="NAME[,NAME...]")  # fmt: skip
@suite_option("puppets")
@click.option("--actions", callback=_words, metavar="A,B", help="Only these of the suite.")
@subjects_option()
@images_option
@set_option
@setup_options
def doctor(
    methods: list[str], suite_name: str, given: tuple[str, ...], batch_size: int, **choices: Any
) -> None:
    """Check device, memory, disk, packages, plug-ins, model and suite; estimate time and memory.

    Takes what `run` takes, but for the seed, loads nothing and needs no network. Status 1 where the
    run cannot work; each failure comes with how to mend it.
    """
    from actionbench.commands.display import JobProgress, findings_table, output
    from actionbench.runs.doctor import Question, examine

    question = Question(
        suite=suite_name,
        methods=_method_names(methods, given),
        given=given,
        judge=choices.pop("judge_name"),
        resources=_resources(choices),
        **choices,
    )
    with JobProgress() as progress:
        findings = []
        for finding in examine(question):
            findings.append(finding)
            progress.update(len(findings), len(findings) + 1, f"checked {finding.what}")
    output().print(findings_table(findings))
    if any(finding.state == "fail" for finding in findings):
        raise click.exceptions.Exit(1)


@cli.command(short_help="Fetch and verify all that a run needs.")
@click.option("--method", "methods", default="all", show_default=True, callback=_words,
              metavar="NAME[,NAME...]")  # fmt: skip
@suite_option("puppets")
@click.option("--model", metavar="NAME", help="Base model, instead of the suite's own.")
@click.option("--judge", "judge_name", metavar="NAME", help="Judge, instead of the suite's own.")
@judge_set_option
@set_option
def prefetch(
    methods: list[str],
    suite_name: str,
    given: tuple[str, ...],
    model: str | None,
    judge_name: str | None,
    judge_given: tuple[str, ...],
) -> None:
    """Fetch base model, ControlNet and judge models into the Hub's cache, and verify them.

    Prints revisions, and of the base model fingerprint and hashes. Status 1 where something cannot
    be had.
    """
    from actionbench.commands.display import JobProgress
    from actionbench.files.models import local_model, preset_name
    from actionbench.registry import get_method, make_judge
    from actionbench.runs.prefetch import prefetch as fetch_each
    from actionbench.suite.suite import get_suite

    suite = get_suite(suite_name)
    name = model or suite.model
    preset = preset_name(name, local_model(name))
    kinds = map(get_method, _method_names(methods, given))
    systems = [kind.for_model(preset, given) for kind in kinds]
    judge = make_judge(judge_name or suite.judge, suite, judge_given)
    missing = []
    with JobProgress() as progress:
        for found in fetch_each(name, systems, judge, click.echo, progress):
            click.echo(f"{found.what}: {found.told}")
            for line in (str(found.folder or ""), *found.pins):
                if line:
                    click.echo(f"  {line}")
            if found.folder is None:
                missing.append(found.what)
    _end_with(missing)


@cli.command(short_help="Search a method's settings on other actions than the eight.")
@click.argument("method")
@click.option("--budget", default=9, show_default=True, type=click.IntRange(1, 200),
              help="Configurations; the first is the present preset.")  # fmt: skip
@suite_option("puppets-dev")
@subjects_option("; default: a fixed few of each group")
@images_option
@click.option("--seed", default=0, show_default=True)
@setup_options
@click.option("--dry-run", is_flag=True, help="Say what would be tried; do nothing.")
@click.option("--out", type=FILE, metavar="FILE",
              help="Default: `tuning/METHOD.json` in the runs folder.")  # fmt: skip
def tune(
    method: str, budget: int, subjects: list[str] | None, seed: int, dry_run: bool,
    out: Path | None, **choices: Any,
) -> None:  # fmt: skip
    """Search METHOD's learning rate and steps, with the same budget and factors for every method.

    The eight actions are refused: nothing may be tuned on them. Configurations are ordinary
    runs, so the same command goes on, and a larger budget adds to what was tried.
    """
    from actionbench.commands.display import RunView
    from actionbench.registry import get_method
    from actionbench.suite.suite import get_suite
    from evaluation.experiments.measured import measure_each
    from evaluation.experiments.tuning import (
        check_tuning_suite,
        choose,
        default_subjects,
        plan_tuning,
        write_tuning,
    )

    kind, suite = get_method(method), get_suite(choices["suite_name"])
    check_tuning_suite(suite)
    setup = _setup(subjects=subjects or default_subjects(suite), **choices)
    plans = plan_tuning(setup, kind, budget, seed)
    if dry_run:
        for plan in plans:
            _print_work(plan)
            click.echo(f"  {_changes(plan)}")
        return
    tuning = choose(measure_each(plans, RunView))
    _print_tuning(tuning)
    click.echo(f"wrote {write_tuning(tuning, out or setup.runs / 'tuning' / f'{method}.json')}")
    if tuning.chosen is None:
        raise click.exceptions.Exit(1)


def _changes(plan: Plan) -> str:
    changed = (f"{name}={value}" for name, value in plan.changed_settings.items())
    return " ".join(changed) or "present preset"


def _print_tuning(tuning: Tuning) -> None:
    from rich.table import Table
    from rich.text import Text

    from actionbench.commands.display import output

    table = Table("", "settings", "action %", "subject %", "total %", "n", "fit s")
    for number, trial in enumerate(tuning.trials):
        mark = "chosen" if number == tuning.chosen else ""
        if trial.shares:
            found = [trial.shares[name].percent() for name in ("action", "subject", "total")]
            seconds = "" if trial.fit_seconds is None else f"{trial.fit_seconds:.1f}"
            cells = (*found, str(trial.shares["total"].n), seconds)
        else:
            cells = ("failed", "", "", "", "")
        table.add_row(mark, _changes(trial.plan), *cells)
        if trial.failure:
            table.add_row("", Text(trial.failure, style="red"))
    output().print(table)


@cli.command(short_help="Change one part of a method at a time, and measure.")
@click.argument("method")
@click.option("--only", callback=_words, metavar="A,B",
              help="Groups to run: tokens, merge, beta, noise, prompts; default: all.")  # fmt: skip
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(1, 100),
              help="Runs of each variant, with seeds from 0 on.")  # fmt: skip
@suite_option("puppets")
@click.option("--actions", callback=_words, metavar="A,B", help="Only these of the suite.")
@subjects_option()
@images_option
@setup_options
@click.option("--dry-run", is_flag=True, help="Say what it comes to; do nothing.")
@click.option("--out", type=FOLDER, metavar="DIR",
              help="Default: `ablation/METHOD` in the runs folder.")  # fmt: skip
def ablate(
    method: str, only: list[str] | None, seeds: int, dry_run: bool, out: Path | None, **choices: Any
) -> None:
    """Take METHOD (adi) apart: variants with one part changed, each with several seeds.

    Writes a table (Markdown, CSV, JSON) and a plot of the groups that are asked for. Variants are
    ordinary runs, so the same command goes on, and what several groups share is run once.
    """
    from actionbench.commands.display import RunView
    from actionbench.runs.store import Store
    from evaluation.experiments.ablation import (
        collect,
        distinct_plans,
        estimate,
        find_questions,
        plan_ablation,
        write_ablation,
    )
    from evaluation.experiments.measured import measure_each

    questions = find_questions(method, only)
    setup = _setup(**choices)
    planned = plan_ablation(setup, questions, seeds)
    plans = distinct_plans(planned)
    if dry_run:
        for variant in planned:
            words = " ".join(variant.variant.words)
            click.echo(f"{variant.question.name:<9}{variant.variant.method:<19}{words}")
        found = estimate(plans, Store(setup.runs))
        click.echo(
            f"{found.runs} runs, {found.runs_to_do} to do: {found.fits} fits, "
            f"{found.images} images, about {found.seconds / 60:.0f} minutes"
        )
        if found.untimed:
            click.echo(f"not counted, for no run tells their time: {', '.join(found.untimed)}")
        return
    ablation = collect(planned, measure_each(plans, RunView))
    _print_ablation(ablation)
    for path in write_ablation(ablation, out or setup.runs / "ablation" / method):
        click.echo(f"wrote {path}")
    _end_with(ablation.failures)


def _print_ablation(ablation: Ablation) -> None:
    from rich.markup import escape
    from rich.table import Table

    from actionbench.commands.display import output
    from evaluation.experiments.ablation import TABLE, table_rows

    for question in ablation.questions:
        table = Table(*TABLE, title=question.title, title_justify="left")
        for row in table_rows(ablation, question):
            table.add_row(*map(escape, row))
        output().print(table)


@cli.command(short_help="Print and write the board of the stored runs.")
@runs_option
@click.option("--suite", "suite_name", metavar="NAME_OR_PATH", help="Only runs on this suite.")
@click.option("--reference", metavar="NAME_OR_DIR",
              help="Show a kept measurement's rows as well, marked as such.")  # fmt: skip
@click.option("--keep", type=FOLDER, metavar="DIR",
              help="Keep the complete runs (verdicts, records, board) as a reference.")  # fmt: skip
@click.option("--out", type=FOLDER, metavar="DIR", help="Default: `report` in the runs folder.")
def report(
    runs: Path, suite_name: str | None, reference: str | None, keep: Path | None, out: Path | None
) -> None:
    """Print the board of the stored runs, and write it as Markdown, CSV and JSON."""
    from actionbench.commands.display import output
    from actionbench.runs.store import Store
    from leaderboards import build_board
    from leaderboards.reference import find_reference, keep_reference

    store = Store(runs)
    kept = find_reference(reference) if reference else None
    if not store.run_ids() and not kept:
        raise UserError(f"no runs in {runs}: `actionbench run --method NAME` makes them")
    board = build_board(store.root, suite_name, kept)
    board.print(output())
    if out or store.root.exists():
        for path in board.write(out or store.root / "report"):
            click.echo(f"wrote {path}")
    if keep:
        click.echo(f"kept in {keep_reference(board, store.root, keep)}")


@cli.command(short_help="Write a labelled picture of a run, or of several side by side.")
@click.argument("run_ids", metavar="RUN [RUN...]", nargs=-1, required=True)
@click.option("--actions", callback=_words, metavar="A,B", help="Default: the first run's.")
@click.option("--subjects", callback=_words, metavar="A,B",
              help="These, groups of them (human, celebrity, animal), or `all`; "
              "default: a few of each group.")  # fmt: skip
@runs_option
@click.option("--out", type=FILE, metavar="FILE",
              help="Default: `grid.png` in the run's folder; of several runs `comparison.png` "
              "here.")  # fmt: skip
def show(
    run_ids: tuple[str, ...], actions: list[str] | None, subjects: list[str] | None,
    runs: Path, out: Path | None,
) -> None:  # fmt: skip
    """Write a labelled picture of a run, exemplars and generated images; or compare several runs.

    RUN is a run's id or the beginning of one; see `actionbench list runs`.
    """
    from actionbench.runs.store import Store
    from evaluation.pictures import write_comparison, write_grid

    store = Store(runs)
    found = list(dict.fromkeys(store.find_run(run_id) for run_id in run_ids))
    if len(found) == 1:
        file = out or store.run_folder(found[0]) / "grid.png"
        write_grid(store.root, found[0], file, actions=actions, subjects=subjects)
    else:
        file = out or Path("comparison.png")
        write_comparison(store.root, found, file, actions=actions, subjects=subjects)
    click.echo(f"wrote {file}")


@cli.command(short_help="Judge stored images by another judge.")
@click.argument("run_ids", metavar="RUN [RUN...]", nargs=-1, required=True)
@click.option("--judge", "judge_name", required=True, metavar="NAME",
              help="See `actionbench list judges`.")  # fmt: skip
@judge_set_option
@device_option
@runs_option
def judge(
    run_ids: tuple[str, ...], judge_name: str, judge_given: tuple[str, ...], device: str, runs: Path
) -> None:
    """Judge the images of finished runs again; nothing is fitted or drawn.

    The verdicts become a run of their own beside the first judge's, under its own protocol, so
    that `actionbench report` shows a board for each judge. RUN is a run's id or the beginning of
    one.
    """
    from actionbench.commands.display import JobProgress
    from actionbench.device import resolve_device
    from actionbench.registry import make_judge
    from actionbench.runs.judging import judge_run
    from actionbench.runs.store import Store
    from actionbench.suite.suite import recorded_suite
    from evaluation.stored import read_record

    store, where = Store(runs), resolve_device(device)
    found = list(dict.fromkeys(store.find_run(run_id) for run_id in run_ids))
    judges: dict[str, Judge] = {}  # one a suite, so that its weights are loaded once
    for run_id in found:
        suite = recorded_suite(read_record(store, run_id))
        if suite.fingerprint not in judges:
            judges[suite.fingerprint] = make_judge(judge_name, suite, judge_given, where)
        with JobProgress() as progress:
            command = ["actionbench", *sys.argv[1:]]
            made = judge_run(store, run_id, judges[suite.fingerprint], command, progress)
        click.echo(f"judged {run_id} by {judge_name}: run {made}")
    option = "" if str(runs) == RUNS else f" --runs {runs}"
    click.echo(f"next: actionbench report{option} / actionbench agreement{option}")


@cli.command(short_help="Measure a judge on the exemplars.")
@click.option("--judge", "judge_name", metavar="NAME", help="Default: the suite's own.")
@judge_set_option
@suite_option("puppets")
@device_option
@click.option("--out", type=FOLDER, metavar="DIR", help="Default: `calibration/JUDGE-SUITE` here.")
def calibrate_judge(
    judge_name: str | None, judge_given: tuple[str, ...], suite_name: str, device: str,
    out: Path | None,
) -> None:  # fmt: skip
    """Show a judge each exemplar with each action in question: what it misses or sees wrongly.

    An exemplar is left out of what the judge looks at when it is asked about it. Writes
    calibration.json and the confusion matrix, calibration.csv.
    """
    from actionbench.commands.display import JobProgress
    from actionbench.device import resolve_device
    from actionbench.registry import make_judge
    from actionbench.suite.suite import get_suite
    from evaluation.judges.calibration import calibrate, write_calibration

    suite = get_suite(suite_name)
    name, where = judge_name or suite.judge, resolve_device(device)
    judge = make_judge(name, suite, judge_given, where)
    with JobProgress() as progress:
        found = calibrate(judge, progress)
    _print_calibration(found)
    for path in write_calibration(found, out or Path("calibration") / f"{judge.name}-{suite.name}"):
        click.echo(f"wrote {path}")


def _print_calibration(found: Calibration) -> None:
    from rich.table import Table

    from actionbench.commands.display import output
    from evaluation.judges.calibration import CONFUSION, TABLE, confusion_rows, table_rows

    table = Table(*TABLE, title=f"{found.judge} on the exemplars of {found.suite}")
    for row in table_rows(found):
        table.add_row(*row)
    output().print(table)
    columns, counts = confusion_rows(found)
    table = Table(*columns, title=CONFUSION)
    for names in counts:
        table.add_row(*names)
    output().print(table)
    if found.suggestion:
        words = " ".join(f"--judge-set {name}={v}" for name, v in found.suggestion.items())
        click.echo(f"balances the two errors on {found.suite}: {words}")


@cli.command(short_help="How far judges of the same images agree.")
@click.argument("run_ids", metavar="[RUN...]", nargs=-1)
@runs_option
@click.option("--out", type=FILE, metavar="FILE",
              help="Default: `report/judges.csv` in the runs folder.")  # fmt: skip
def agreement(run_ids: tuple[str, ...], runs: Path, out: Path | None) -> None:
    """Compare the verdicts of every two judges on the images that both have judged.

    Of the runs named, each with all that judged the same images; of all runs where none is named.
    """
    from rich.table import Table

    from actionbench.commands.display import output
    from actionbench.runs.store import Store
    from evaluation.judges.agreement import TABLE, compare_judges, table_rows, write_agreement

    store = Store(runs)
    found = compare_judges(store, [store.find_run(run_id) for run_id in run_ids] or None)
    if not found:
        raise UserError(
            f"no images in {runs} have two judges: `actionbench judge RUN --judge NAME` adds one"
        )
    table = Table(*TABLE, title="Judges of the same images")
    for row in table_rows(found):
        table.add_row(*row)
    output().print(table)
    click.echo(f"wrote {write_agreement(found, out or store.root / 'report' / 'judges.csv')}")


@cli.command(name="check-method", short_help="Check that a method keeps its promises.")
@click.argument("name")
def check_method(name: str) -> None:
    """Check that a method keeps the interface's promises, on tiny pipelines made on the spot.

    It is fitted and drawn with in small, with two steps and images wherever a setting says how
    many. Status 1 where a check fails.
    """
    from actionbench.registry import get_method

    method = get_method(name)  # a wrong name is told before the heavy imports
    from actionbench.commands.display import JobProgress, checks_table, failed_checks, output
    from actionbench.plugins.conformance import check_method as check

    with JobProgress() as progress:
        outcomes = check(method, progress=progress)
    output().print(checks_table(name, outcomes))
    problems = failed_checks(outcomes)
    for line in problems:
        click.echo(line)
    if problems:
        raise click.exceptions.Exit(1)


@cli.command(name="new-method", short_help="Write the skeleton of a method of your own.")
@click.argument("name")
@click.option("--out", type=FOLDER, metavar="DIR",
              help="Folder to make; default: actionbench-NAME here.")  # fmt: skip
def new_method(name: str, out: Path | None) -> None:
    """Write an installable package with a method that works as it is, to be changed."""
    from actionbench.plugins.template import write_skeleton
    from actionbench.registry import method_names

    folder = out or Path(f"actionbench-{name}")
    for path in write_skeleton(name, folder, method_names()):
        click.echo(f"wrote {path}")
    click.echo(f"next: pip install -e {folder} / actionbench check-method {name}")


@cli.group(name="list")
def list_group() -> None:
    """List methods, suites, judges or runs."""


@list_group.command(name="methods")
@click.option("--settings", is_flag=True, help="With each one's settings.")
def list_methods(settings: bool) -> None:
    """The systems that can be run."""
    from rich.table import Table

    from actionbench.commands.display import output
    from actionbench.registry import get_method, method_names

    table = Table("method", "title", "reference")
    found: list[type[Method[Any]]] = []
    for name in method_names():
        try:
            found.append(get_method(name))
        except UserError as error:
            table.add_row(name, "failed", str(error))
        else:
            table.add_row(name, found[-1].title, found[-1].reference)
    output().print(table)
    for method in found if settings else []:
        _print_settings(method)


def _print_settings(kind: type[Method[Any]] | type[Judge]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from actionbench.commands.display import output
    from actionbench.settings import describe_settings

    changes: Mapping[str, Mapping[str, Any]] = getattr(kind, "presets", {})
    presets = sorted(changes)
    table = Table("setting", "kind", "default", *presets, "help", title=kind.name)
    table.title_justify = "left"
    columns = [describe_settings(kind.Settings, changes[name]) for name in presets]
    for number, row in enumerate(describe_settings(kind.Settings, {})):
        values = [str(column[number]["default"]) for column in columns]
        cells = (row["name"], row["kind"], str(row["default"]), *values, row["help"])
        table.add_row(*map(escape, cells))
    output().print(table if table.row_count else f"{kind.name} has no settings")


@list_group.command(name="suites")
def list_suites() -> None:
    """What can be measured."""
    from rich.table import Table

    from actionbench.commands.display import output
    from actionbench.suite.suite import suites

    table = Table("suite", "title", "protocol", "actions", "subjects", "judge", "model")
    for suite in suites().values():
        actions = ", ".join(action.name for action in suite.actions)
        subjects = str(len(suite.subjects))
        model = Path(suite.model).name if Path(suite.model).exists() else suite.model
        protocol = suite.protocol_of(suite.judge)
        table.add_row(suite.name, suite.title, protocol, actions, subjects, suite.judge, model)
    output().print(table)


@list_group.command(name="judges")
@click.option("--settings", is_flag=True, help="With each one's settings.")
def list_judges(settings: bool) -> None:
    """Who can judge."""
    from rich.table import Table

    from actionbench.commands.display import output
    from actionbench.registry import get_judge, judge_names

    table = Table("judge", "what it is")
    found: list[type[Judge]] = []
    for name in judge_names():
        try:
            found.append(get_judge(name))
        except UserError as error:
            table.add_row(name, f"failed: {error}")
        else:
            table.add_row(name, (found[-1].__doc__ or "").strip().split("\n")[0])
    output().print(table)
    for kind in found if settings else []:
        _print_settings(kind)


@list_group.command(name="runs")
@runs_option
def list_runs(runs: Path) -> None:
    """The stored runs, finished or not."""
    from rich.table import Table

    from actionbench.commands.display import output
    from actionbench.runs.store import Store

    store = Store(runs)
    table = Table("run", "suite", "model", "seed", "state", "judged", "total %", "begun")
    for run_id in store.run_ids():
        record = store.load_record(run_id)
        if record is None:  # deleted just now
            continue
        rows = store.load_row_dicts(run_id) if store.has_rows(run_id) else []
        right = sum(row["total_correct"] for row in rows)
        table.add_row(
            run_id,
            record["suite"],
            record["model"]["name"],
            str(record["seed"]),
            _state(record),
            f"{len(rows)} of {record['n_items']}",
            f"{100 * right / len(rows):.1f}" if rows else "",
            record["started"],
        )
    output().print(table if table.row_count else f"no runs in {runs}")


def _state(record: Mapping[str, Any]) -> str:
    if record["complete"]:
        return "finished"
    failure = record.get("failure")
    return f"failed on {failure['action']}: {failure['reason']}" if failure else "not finished"


@cli.group()
def data() -> None:
    """Datasets: draw the puppets', import photographs, check, share."""


@data.command()
@click.option("--out", type=FOLDER, metavar="DIR", help="Default: the shipped folder.")
def build(out: Path | None) -> None:
    """Draw the puppets' dataset: Parquet files and card."""
    from actionbench.commands.display import JobProgress
    from actionbench.puppets.dataset import build_dataset
    from actionbench.suite.shipped import DATASET

    folder = out or DATASET
    with JobProgress() as progress:
        fingerprint = build_dataset(folder, progress)
    click.echo(f"wrote {folder}, fingerprint {fingerprint}")


@data.command()
@click.argument("folder", type=FOLDER, required=False)
def check(folder: Path | None) -> None:
    """Check a dataset folder: whole, readable, and as it was made.

    Puppets are compared with a fresh drawing, imported photographs with the fingerprint that their
    import noted. Without FOLDER: the shipped puppets.
    """
    from actionbench.photos.imported import check_imported, is_imported
    from actionbench.puppets.dataset import check_dataset
    from actionbench.suite.shipped import DATASET

    path = folder or DATASET
    checked = check_imported(path) if is_imported(path) else check_dataset(path)
    click.echo(f"{path} is in order, fingerprint {checked}")


def _count(_context: click.Context, _option: click.Parameter, text: str | None) -> int | None:
    """A number, or None for `any`."""
    from actionbench.photos.importing import COUNT

    if text is None:
        return COUNT
    if text == "any":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise click.BadParameter(f"'{text}' is neither a number from 1 on nor `any`")
    return int(text)


@data.command(name="import", short_help="Make a dataset of a folder of photographs.")
@click.argument("source", metavar="DIR", type=FOLDER)
@click.option("--out", type=FOLDER, default=Path("photos"), show_default=True, metavar="FOLDER",
              help="The dataset; `--suite FOLDER` then measures on it.")  # fmt: skip
@click.option("--suite", "suite_name", default="photos", show_default=True, metavar="NAME_OR_PATH",
              help="Whose actions they are; one of your own is a YAML file.")  # fmt: skip
@click.option("--count", callback=_count, metavar="N|any",
              help="Photographs of each action; default: the paper's ten.")  # fmt: skip
@click.option("--size", type=click.Choice(["512", "768"]), default="512", show_default=True,
              help="Side in pixels.")  # fmt: skip
@click.option("--fit", type=click.Choice(["pad", "crop"]), default="pad", show_default=True,
              help="How they become square: black bars, or rims and limbs cut off.")  # fmt: skip
@click.option("--slot", type=click.Choice(["strict", "append"]), default="strict",
              show_default=True,
              help="For captions without {} and without the action's description: refuse them, or "
              "put {} at the end.")  # fmt: skip
@click.option("--allow-similar", is_flag=True, help="Take photographs that are nearly the same.")
@click.option("--captioner", metavar="PATH_OR_ID",
              help="A captioning model (BLIP), for photographs without a caption.")  # fmt: skip
@click.option("--keypoints", is_flag=True, help="Read keypoints, which ControlNet needs.")
@click.option("--detector", metavar="PATH_OR_ID",
              help="For keypoints: an RT-DETR that finds the people.")  # fmt: skip
@click.option("--pose-model", metavar="PATH_OR_ID",
              help="For keypoints: a ViTPose that reads them.")  # fmt: skip
@device_option
def import_(
    source: Path, out: Path, suite_name: str, count: int | None, size: str, fit: Any, slot: str,
    allow_similar: bool, captioner: str | None, keypoints: bool, detector: str | None,
    pose_model: str | None, device: str,
) -> None:  # fmt: skip
    """Make a dataset of DIR: photographs, one sub-folder for each action.

    Captions are taken from captions.csv, else from metadata.jsonl, else from a .txt beside each
    photograph; where there are none, they are "a photo of a person" and the action's description.
    All problems are told at once; then nothing is written.
    """
    from actionbench.commands.display import JobProgress
    from actionbench.photos.captioner import Captioner
    from actionbench.photos.importing import Choices, import_photographs
    from actionbench.suite.suite import get_suite

    if captioner or keypoints:
        from actionbench.device import resolve_device

        device = resolve_device(device)
    reader = None
    if keypoints:
        from actionbench.photos.keypoints import DETECTOR, POSE_MODEL, KeypointReader

        reader = KeypointReader(device, pose_model or POSE_MODEL, detector or DETECTOR)
    elif detector or pose_model:
        raise UserError("--detector and --pose-model are for --keypoints: give it as well")
    with JobProgress() as progress:
        made = import_photographs(
            source,
            out,
            get_suite(suite_name),
            Choices(count, int(size), fit, slot == "append", allow_similar),
            captioner=Captioner(captioner, device) if captioner else None,
            pose_reader=reader,
            progress=progress,
        )
    for note, files in made.notes.items():
        more = " ..." if len(files) > 5 else ""
        click.echo(f"{note} ({len(files)}): {', '.join(files[:5])}{more}")
    counts = ", ".join(f"{action} {number}" for action, number in made.counts.items())
    click.echo(f"exemplars: {counts}")
    click.echo(f"captions: {made.captions}")
    click.echo(f"wrote {made.folder}, fingerprint {made.fingerprint}")
    click.echo(f"next: actionbench run --suite {out} --method adi")


@data.command()
@click.argument("folder", type=FOLDER)
@click.argument("repo_id")
@click.option("--private", is_flag=True, help="Where the repository is made: for you alone.")
@click.option("--revision", metavar="BRANCH", help="Default: main.")
def push(folder: Path, repo_id: str, private: bool, revision: str | None) -> None:
    """Upload an imported dataset to the Hugging Face Hub."""
    from actionbench.photos.sharing import push as upload

    commit = upload(folder, repo_id, private=private, revision=revision)
    click.echo(f"pushed {folder}: {repo_id}@{commit}")


@data.command()
@click.argument("source", metavar="REPO_ID[@REVISION]")
@click.option("--out", type=FOLDER, default=Path("photos"), show_default=True, metavar="FOLDER")
def pull(source: str, out: Path) -> None:
    """Fetch a dataset from the Hugging Face Hub, or copy it from a folder, and check it."""
    from actionbench.photos.sharing import pull as fetch

    commit = fetch(source, out)
    click.echo(f"pulled {out}{f', commit {commit}' if commit else ''}")
    click.echo(f"next: actionbench run --suite {out} --method adi")


@cli.group()
def puppets() -> None:
    """The puppets: picture, base model, ControlNet, judge, gates."""


work_option = click.option(
    "--work", type=FOLDER, default=Path(".work"), show_default=True, metavar="DIR",
    help="Checkpoints, from which the same command goes on.",
)  # fmt: skip


@puppets.command()
@click.option("--out", type=FILE, default=Path("puppets.png"), show_default=True, metavar="FILE")
def picture(out: Path) -> None:
    """Draw the eight actions by a few subjects."""
    from actionbench.puppets.picture import write_picture

    write_picture(out)
    click.echo(f"wrote {out}")


@puppets.command()
@click.option("--out", type=FOLDER, metavar="DIR", help="Default: the shipped folder.")
@work_option
@device_option
@click.option("--until", metavar="STAGE", help="Stop after this stage; default: the last.")
@click.option("--exact-share", type=click.FloatRange(0, 1),
              help="How tightly descriptions are bound; default: as shipped.")  # fmt: skip
@click.option("--more-steps", type=click.IntRange(0), default=0, show_default=True,
              help="Diffusion steps after the recipe's, at a falling rate.")  # fmt: skip
@click.option("--from", "start", type=FOLDER, metavar="DIR",
              help="A finished pipeline: its text encoder and UNet get these steps.")  # fmt: skip
def pretrain(
    out: Path | None,
    work: Path,
    device: str,
    until: str | None,
    exact_share: float | None,
    more_steps: int,
    start: Path | None,
) -> None:
    """Train puppet-diffusion in stages: text and image encoder, autoencoder, diffusion."""
    from actionbench.commands.display import JobProgress
    from actionbench.device import resolve_device
    from actionbench.puppets.pretrain import STAGES, Recipe, refine
    from actionbench.puppets.pretrain import pretrain as train
    from actionbench.suite.suite import get_suite

    folder = out or Path(get_suite("puppets").model)
    with JobProgress() as progress:
        recipe = Recipe(refine_steps=more_steps)
        if exact_share is not None:
            recipe = replace(recipe, exact_share=exact_share)
        where, stage = resolve_device(device), until or STAGES[-1]
        if start is not None:
            made: Path | None = refine(start, folder, work, where, progress, recipe)
        else:
            made = train(folder, work, where, stage, progress, recipe)
    click.echo(f"wrote {made or work}")


@puppets.command(name="pretrain-controlnet")
@click.option("--out", type=FOLDER, metavar="DIR", help="Default: the shipped folder.")
@click.option("--model", metavar="PATH_OR_ID", help="Base model; default: the puppets suite's.")
@work_option
@device_option
@click.option("--steps", type=click.IntRange(1), help="Default: the recipe's.")
@click.option("--from", "start", type=FOLDER, metavar="DIR",
              help="A finished ControlNet, to be trained further.")  # fmt: skip
def pretrain_controlnet(
    out: Path | None,
    model: str | None,
    work: Path,
    device: str,
    steps: int | None,
    start: Path | None,
) -> None:
    """Train the base model's ControlNet on drawn skeletons."""
    from actionbench.commands.display import JobProgress
    from actionbench.device import resolve_device
    from actionbench.puppets.pretrain_controlnet import ControlRecipe
    from actionbench.puppets.pretrain_controlnet import pretrain_controlnet as train
    from actionbench.suite.shipped import CONTROLNET
    from actionbench.suite.suite import get_suite

    base = Path(get_suite("puppets").model)
    with JobProgress() as progress:
        folder, where = out or base.parent / CONTROLNET, resolve_device(device)
        recipe = ControlRecipe() if steps is None else ControlRecipe(steps=steps)
        made = train(folder, work, model or str(base), where, progress, recipe, start)
    click.echo(f"wrote {made}")


@puppets.command(name="train-judge")
@click.option("--out", type=FOLDER, metavar="DIR", help="Default: the shipped folder.")
@click.option("--model", type=FOLDER, metavar="DIR",
              help="Pipeline for round trips; default: the puppets suite's.")  # fmt: skip
@work_option
@device_option
def train_judge(out: Path | None, model: Path | None, work: Path, device: str) -> None:
    """Train the puppet judge on drawings that the base model never saw."""
    from actionbench.commands.display import JobProgress
    from actionbench.device import resolve_device
    from actionbench.suite.shipped import JUDGE
    from actionbench.suite.suite import get_suite
    from evaluation.judges.puppet import train_judge as train

    source = model or Path(get_suite("puppets").model)
    with JobProgress() as progress:
        made = train(out or JUDGE, work, source, resolve_device(device), progress=progress)
    click.echo(f"wrote {made}")


@puppets.command(name="check")
@click.option("--out", type=FOLDER, default=Path("gates"), show_default=True, metavar="DIR")
@click.option("--model", metavar="PATH_OR_ID", help="Default: the puppets suite's.")
@click.option("--n", default=400, show_default=True, type=click.IntRange(1))
@device_option
def check_puppets(out: Path, model: str | None, n: int, device: str) -> None:
    """Measure the gates of base model, judge and ControlNet on fresh seeds; status 1 where one is
    missed."""
    from rich.table import Table

    from actionbench.commands.display import JobProgress, output
    from actionbench.device import resolve_device
    from actionbench.suite.suite import get_suite
    from evaluation.judges.gates import run_gates

    with JobProgress() as progress:
        model = model or get_suite("puppets").model
        gates = run_gates(out, model, resolve_device(device), n, progress)
    table = Table("gate", "what", "n", "measured %", "95% interval", "asked %", "")
    states = {True: "passed", False: "missed", None: "reported"}
    for gate in gates:
        limits = [
            f"{word} {100 * limit:g}"
            for word, limit in (("at least", gate.at_least), ("at most", gate.at_most))
            if limit is not None
        ]
        interval = f"{100 * gate.low:.1f} to {100 * gate.high:.1f}"
        table.add_row(
            *(gate.name, gate.what, str(gate.n), f"{100 * gate.accuracy:.1f}", interval),
            *(", ".join(limits), states[gate.passed]),
        )
    output().print(table)
    click.echo(f"wrote {out}")
    if any(gate.passed is False for gate in gates):
        raise click.exceptions.Exit(1)


if __name__ == "__main__":
    main()
