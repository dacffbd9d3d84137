"""The command `actionbench`: the table of its commands, and its exit statuses."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence

import click

from actionbench.commands.lazy import LazyGroup, Table
from actionbench.errors import Problems, UserError
from actionbench.printing import ready, say

HERE = "actionbench.commands"
METHODS: Table = {
    "list": (f"{HERE}.methods.list:list_methods", "List the systems that can be run."),
    "new": (f"{HERE}.methods.new:new_method", "Write the skeleton of a method of your own."),
    "check": (f"{HERE}.methods.check:check_method", "Check that a method keeps its promises."),
}
JUDGES: Table = {
    "list": (f"{HERE}.judges.list:list_judges", "List who can judge."),
    "run": (f"{HERE}.judges.run:run_judge", "Judge stored images by another judge."),
    "calibrate": (f"{HERE}.judges.calibrate:calibrate_judge", "Measure a judge on the exemplars."),
    "agree": (f"{HERE}.judges.agree:compare_judges", "Compare judges of the same images."),
}
SUITES: Table = {"list": (f"{HERE}.suites.list:list_suites", "List what can be measured.")}
RUNS: Table = {"list": (f"{HERE}.runs.list:list_runs", "List the stored runs, finished or not.")}
DATA: Table = {
    "build": (f"{HERE}.data.build:build", "Draw the puppets' dataset, or fresh actions."),
    "check": (f"{HERE}.data.check:check", "Check that a dataset is whole and as it was made."),
    "import": (f"{HERE}.data.import_:import_", "Make a dataset of a folder of photographs."),
    "export": (f"{HERE}.data.export:export", "Write a run as a Hugging Face dataset."),
    "push": (f"{HERE}.data.push:push", "Upload a dataset or a run to the Hugging Face Hub."),
    "pull": (f"{HERE}.data.pull:pull", "Fetch a dataset from the Hub, or copy one, and check it."),
}
PUPPETS: Table = {
    "picture": (f"{HERE}.puppets.picture:picture", "Draw the eight actions by a few subjects."),
    "sheets": (f"{HERE}.puppets.sheets:sheets", "Draw the cast and the poses of puppets-v2."),
    "pretrain": (
        f"{HERE}.puppets.pretrain:pretrain",
        "Train base model, ControlNet and readers from nothing.",
    ),
    "check": (f"{HERE}.puppets.check:check", "Measure whether they are fit to be used."),
}
LABELS: Table = {
    "plan": (f"{HERE}.labels.plan:plan_labels", "Choose the images that people are to label."),
    "status": (f"{HERE}.labels.status:show_labels", "Show who labelled how much, and agreement."),
    "export": (f"{HERE}.labels.export:export_labels", "Write the answers as CSV."),
    "import": (f"{HERE}.labels.import_:import_labels", "Add answers from CSV."),
    "page": (f"{HERE}.labels.page:write_label_page", "Write a page to mail to a rater."),
    "card": (f"{HERE}.labels.card:write_card", "Write the study's report in Markdown."),
    "simulate": (f"{HERE}.labels.simulate:simulate_rater", "Let a program answer, for exercise."),
}
COMMANDS: Table = {
    "run": (f"{HERE}.run:run", "Fit, draw and judge."),
    "report": (f"{HERE}.report:report", "Print and write the board of the stored runs."),
    "diff": (f"{HERE}.diff:diff", "Compare two runs item by item: what flipped."),
    "power": (f"{HERE}.power:power", "Say how many actions and seeds tell a gap."),
    "show": (f"{HERE}.show:show", "Draw a run with labels, or several side by side."),
    "submit": (f"{HERE}.submit:submit", "Write a folder with runs for others to check."),
    "verify": (f"{HERE}.verify:verify", "Check a submission, judge and make parts of it again."),
    "doctor": (f"{HERE}.doctor:doctor", "Check whether a run can work here; what it will take."),
    "prefetch": (f"{HERE}.prefetch:prefetch", "Fetch and verify all that a run needs."),
    "tune": (f"{HERE}.tune:tune", "Search a method's settings on other actions than the eight."),
    "ablate": (f"{HERE}.ablate:ablate", "Change one part of a method at a time, and measure."),
    "annotate": (f"{HERE}.annotate:annotate", "Label images in a browser."),
    "labels": (LABELS, "People's labels: plan, mail, import, export, report."),
    "methods": (METHODS, "Methods: list, begin one of your own, check one."),
    "judges": (JUDGES, "Judges: list, judge stored images, measure and compare them."),
    "suites": (SUITES, "Suites: list."),
    "runs": (RUNS, "Stored runs: list."),
    "data": (DATA, "Datasets: draw the puppets', import photographs, check, share."),
    "puppets": (PUPPETS, "The puppets: pictures, training, acceptance."),
}


@click.group(
    cls=LazyGroup,
    table=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="actionbench")
def cli() -> None:
    """ActionBench: teach a text-to-image model an action from ten images, and measure it.

    Begin with `actionbench run --method adi`, then `actionbench report`.
    """


def main() -> None:
    """Run the command line and exit.

    Exit status: 0 done, 1 done but for what failed, 2 a mistake reported in one line, 130
    interrupted.
    """
    # What a library will change some day is its callers' matter, not the user's.
    warnings.filterwarnings("ignore", category=FutureWarning, module="diffusers")
    ready(sys.stdout)
    try:
        _check_arguments(sys.argv[1:])
        status = cli.main(standalone_mode=False) or 0
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        status = error.exit_code
    except click.ClickException as error:
        status = _refuse(_usage(error))
    except Problems as error:
        status = _refuse(error.heading)
        for line in error.lines:
            say(f"  {' '.join(line.split())}", err=True)
    except UserError as error:
        status = _refuse(str(error))
    except (click.Abort, KeyboardInterrupt):
        say("interrupted; the same command goes on from here", err=True)
        status = 130
    except BrokenPipeError:  # the reader (`| head`) has gone: nobody is left to read a message
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    except OSError as error:  # a full disk, no permission: the system's own words
        reason = error.strerror or str(error) or type(error).__name__
        status = _refuse(f"{error.filename}: {reason}" if error.filename else reason)
    sys.exit(status)


def _check_arguments(words: Sequence[str]) -> None:
    """Refuse what could be written into no record: the name of a file that is not UTF-8."""
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError as error:
            raise UserError(f"'{word}' is not UTF-8: rename it") from error


def _usage(error: click.ClickException) -> str:
    """Return what click says of a command line, and where it is said what is valid."""
    message = error.format_message().rstrip(".")
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is None:
        return message
    # However the program was begun: `python -m cli` is none of what help is looked up by.
    typed = context.command_path.removeprefix(context.find_root().info_name or "")
    return f"{message}: see `actionbench{typed} --help`"


def _refuse(message: str) -> int:
    say(f"error: {' '.join(message.split())}", err=True)
    return 2


if __name__ == "__main__":
    main()
