"""What raters are asked, word for word. A change of words is a new version of the questions."""

from __future__ import annotations

from typing import Literal

PROTOCOL = "human-v1"
"""How answers become verdicts: these questions, the majority, the rule for failed gold."""
QUESTIONS = "1"
"""The version of the words below, stored with every answer."""

Answer = Literal["yes", "no", "unsure"]
ANSWERS: tuple[Answer, ...] = ("yes", "no", "unsure")

ACTION = "Is this action done in the picture?"
SUBJECT = "Is this who is in the picture?"

INSTRUCTIONS = (
    "You see one picture at a time, and answer two questions about it.",
    "The action: look at the example pictures and read the words. Answer yes if whoever is in the "
    "picture does the same with body, arms and legs. Who it is, clothes and place do not matter; "
    "left and right do.",
    "The subject: answer yes if you would recognize the named person, character or animal without "
    "having been told the name. A human body under an animal's head counts; somebody else in its "
    "clothes does not.",
    "Pictures may be blurred or deformed. Judge what can be seen. If you cannot decide, answer "
    "unsure. There is no need to hurry, and nothing to gain by saying yes.",
)
