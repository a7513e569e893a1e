"""A folder laid out like WMDP and MMLU, with made-up harmless questions, and two corpora."""

from pathlib import Path
from typing import Any

from tests.fake_tofu import write_lines

NUM_QUESTIONS = 3
SUBJECTS = ("anatomy", "law")


def write(folder: Path) -> Path:
    """Write two domains, MMLU with two subjects, and the corpora ``forget.jsonl`` and ``retain.jsonl``."""
    for domain in ("bio", "cyber"):
        lines = [question(domain, number) for number in range(NUM_QUESTIONS)]
        write_lines(folder / f"wmdp-{domain}" / "test.jsonl", lines)
    lines = [question(subject, number) | {"subject": subject} for subject in SUBJECTS for number in range(4)]
    write_lines(folder / "all" / "test.jsonl", lines)
    papers = [{"title": "On herons", "doi": f"10/{n}", "text": f"The grey heron {n} eats fish."} for n in range(2)]
    write_lines(folder / "forget.jsonl", papers)
    write_lines(folder / "retain.jsonl", [{"text": f"The tower {n} is of stone."} for n in range(3)])
    return folder


def question(about: str, number: int) -> dict[str, Any]:
    """A question with four options, of which number ``number`` (of four) is right."""
    options = [f"{about} {number} {colour}" for colour in ("red", "green", "blue", "grey")]
    return {"question": f"What is {about} {number}?", "choices": options, "answer": number % 4}


def settings(folder: Path) -> dict[str, Any]:
    """The parameters of the source for the folder."""
    return {
        "path": str(folder),
        "domains": ["bio", "cyber"],
        "forget": f"{folder}/forget.jsonl",
        "retain": f"{folder}/retain.jsonl",
        "mmlu": str(folder),
        "num_mmlu_questions": None,
    }
