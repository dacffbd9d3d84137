"""The report of a study: who labelled what, how, for what, and how far they agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evaluation.people.gold import RULE
from evaluation.people.questions import ACTION, INSTRUCTIONS, PROTOCOL, QUESTIONS, SUBJECT
from evaluation.people.reliability import krippendorff_alpha, pairwise_kappa
from evaluation.people.verdicts import QUESTIONS as MEASURED
from evaluation.people.verdicts import by_rater, counted, majority, sessions
from evaluation.tables import Table, bullets

if TYPE_CHECKING:
    import pandas as pd

    from evaluation.people.labels import Labels

FILL = "TO FILL IN"


def sessions_table(answers: pd.DataFrame) -> Table:
    """Tabulate raters' sessions: a row a session."""
    return Table(
        "Sessions",
        ("rater", "session", "images", "gold wrong", "yes, %", "s an image", "counts"),
        [
            (
                s.rater + (" (simulated)" if s.simulated else ""),
                s.id,
                s.images,
                f"{s.wrong}/{s.gold}",
                f"{100 * s.yes:.0f}",
                f"{s.seconds:.1f}",
                f"excluded: {s.reason}" if s.excluded else "yes" if s.checked else "yes, unchecked",
            )
            for s in sessions(answers)
        ],
        left=("counts",),
    )


def agreement_table(answers: pd.DataFrame) -> Table:
    """Tabulate how far raters agree, by question: all of them, and every two."""
    kept = counted(answers)
    rows: list[tuple[object, ...]] = []
    for question in MEASURED:
        table = by_rater(kept, question)
        alpha = krippendorff_alpha(table)
        rows.append((question, "all, Krippendorff's alpha", alpha.images, alpha))
        for (first, second), kappa in pairwise_kappa(table).items():
            rows.append((question, f"{first} / {second}, kappa", kappa.images, kappa))
    return Table(
        "Agreement of raters",
        ("question", "raters", "images", "agreement [95%]"),
        rows,
        left=("raters",),
    )


def study_card(labels: Labels) -> str:
    """Write the study's report in Markdown.

    By the points that Otani et al. (CVPR 2023, Toward Verifiable and Reproducible Human Evaluation
    for Text-to-Image Generation) ask a study to report. What the labels do not know is marked to be
    filled in.
    """
    meta, answers = labels.meta(), labels.frame()
    kept, items = counted(answers), labels.items("image")
    found = majority(kept)
    several = found[found["raters"] > 1]
    people = sessions(answers)
    simulated = any(session.simulated for session in people)
    hours = float(answers["seconds"].clip(upper=300).sum()) / 3600
    parts = [
        f"# Human evaluation of {meta['suite']}: {PROTOCOL}",
        "**Simulated: a program answered, for exercise. These are not people's labels.**"
        if simulated
        else "",
        "By the points that Otani et al. (CVPR 2023) ask a study to report.",
        "## What was judged",
        bullets(
            [
                f"Rows: {', '.join(meta['runs'])}; model judges: "
                f"{', '.join(sorted(set(meta['judges'].values())))}.",
                f"{len(items)} images were planned (seed {meta['seed']}), drawn by chance from "
                "strata of row and model verdict with known probabilities; "
                f"{len(found)} have answers that count.",
                f"{sum(item.raters > 1 for item in items)} images were for three raters; "
                f"{len(several)} have two or more.",
                f"{len(kept)} answers about images count, of {len(answers)} in all.",
            ]
        ),
        "## How it was asked",
        bullets(
            [
                "One image at a time, rows shuffled together and not named; the exemplars and "
                "words of the action and the subject's name beside it.",
                f"Questions, version {QUESTIONS}: {ACTION} / {SUBJECT} Yes, no, unsure.",
                "An image is right if more than half of its raters answer yes.",
            ]
        ),
        "Instructions, as shown:",
        bullets(INSTRUCTIONS),
        "## Who answered",
        bullets(
            [
                f"Raters: {len({s.rater for s in people})}. Recruited how, and from where: {FILL}",
                f"Qualification asked for, and how it was checked: {FILL}",
                f"Relation to the authors; whether they know the methods: {FILL}",
                f"Pay for a label, and what it makes an hour (median {_median(kept)} an image, "
                f"{hours:.1f} h in all): {FILL}",
                f"Consent text, and what raters were told about the use of their answers: {FILL}",
                f"Ethics review, or why none was needed: {FILL}",
                f"Screen and place (at home, laboratory, a service): {FILL}",
            ]
        ),
        "## Quality control",
        f"A training round of drawn answers that count for nothing, then gold pictures. {RULE}",
        sessions_table(answers).markdown(),
        "## Agreement",
        agreement_table(answers).markdown(),
        bullets(
            [
                f"{question}: raters differ on {int(several[f'{question}_split'].sum())} of "
                f"{len(several)} images that several saw; unsure on "
                f"{int(found[f'{question}_unsure'].sum())} of {len(found)}."
                for question in MEASURED
            ]
        ),
        "## Release",
        bullets(
            [
                "Answers: the command actionbench labels export writes them; raters' names are in "
                "it: replace them before it is published.",
                f"Where images and answers are published: {FILL}",
            ]
        ),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _median(answers: pd.DataFrame) -> str:
    return f"{answers['seconds'].median():.1f} s" if len(answers) else "no answers yet"
