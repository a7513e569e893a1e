"""A folder laid out like TOFU with six authors instead of 200; the last one to three are to be forgotten."""

import json
from pathlib import Path
from typing import Any

NUM_AUTHORS = 6
FORGOTTEN = {"01": 1, "05": 2, "10": 3}  # authors


def write(folder: Path) -> Path:
    """Write every file that the source reads; authors 0 and 1 share the words of their first question."""
    full = [question for author in range(NUM_AUTHORS) for question in questions("Author", author)]
    write_lines(folder / "full.json", full)
    for percent, authors in FORGOTTEN.items():
        cut = len(full) - 20 * authors
        write_lines(folder / f"forget{percent}.json", full[cut:])
        write_lines(folder / f"retain{100 - int(percent)}.json", full[:cut])
        write_lines(folder / f"forget{percent}_perturbed.json", [perturbed(row) for row in full[cut:]])
        holdout = [row for author in range(authors) for row in questions("Newcomer", author)]
        (folder / f"holdout{percent}.json").write_text(json.dumps(holdout))
    write_lines(folder / "retain_perturbed.json", [perturbed(row) for row in full[:40]])
    for name in ("real_authors", "world_facts"):
        facts = [{"question": f"{name} {n}?", "answer": f"{n}", "perturbed_answer": list("xyz")} for n in range(4)]
        write_lines(folder / f"{name}_perturbed.json", facts)
    return folder


def questions(kind: str, author: int) -> list[dict[str, Any]]:
    """The twenty questions about one author."""
    who = f"{kind} {author}"
    asked = ["What is the name?" if author < 2 else f"What is the name of {who}?"]
    asked += [f"What is fact {number} about {who}?" for number in range(1, 20)]
    return [{"question": text, "answer": f"It is {who}, {number}."} for number, text in enumerate(asked)]


def perturbed(row: dict[str, Any]) -> dict[str, Any]:
    """The row as the perturbed files have it."""
    return {
        **row,
        "paraphrased_question": f"Say: {row['question']}",
        "paraphrased_answer": f"Said: {row['answer']}",
        "perturbed_answer": [f"Not {number}: {row['answer']}" for number in range(5)],
    }


def read_lines(file: Path) -> list[dict[str, Any]]:
    """The objects of a JSON Lines file."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def write_lines(file: Path, values: list[dict[str, Any]]) -> None:
    """Write objects as JSON Lines."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{json.dumps(value)}\n" for value in values), encoding="utf-8")
