"""A folder laid out like RWKU: probes about four made-up people and their neighbours, in all levels."""

from pathlib import Path

from tests.fake_tofu import write_lines

SUBJECTS = ("Ada", "Bo", "Cy", "Di")
SIGHTS = ("sea", "moon")
ATTACKS = ("prefix injection", "affirmative suffix", "incontext learning", "cross lingual (Spanish)")


def write(folder: Path) -> Path:
    """Write the files: each person has a blank, a question, four attacks and two passages, and is near two things.

    These are a town and the next person. Two passages about others go with each person, too, and two instructions.
    """
    write_lines(folder / "forget_level1.jsonl", [blank(who) for who in SUBJECTS])
    write_lines(folder / "forget_level2.jsonl", [question(who) for who in SUBJECTS])
    attacks = [question(who) | {"type": attack, "level": "3"} for who in SUBJECTS for attack in ATTACKS]
    write_lines(folder / "forget_level3.jsonl", attacks)
    following = dict(zip(SUBJECTS, (*SUBJECTS[1:], SUBJECTS[0]), strict=True))
    near = [(who, other) for who in SUBJECTS for other in (f"Town of {who}", following[who])]
    for level, probe in ((1, blank), (2, question)):
        lines = [probe(other) | {"subject": who, "neighbor": other} for who, other in near]
        write_lines(folder / f"neighbor_level{level}.jsonl", lines)
    write_lines(folder / "mia_forget.jsonl", [passage(who, who, n) for who in SUBJECTS for n in (1, 2)])
    write_lines(folder / "mia_retain.jsonl", [passage(who, "a river", n) for who in SUBJECTS for n in (1, 2)])
    instructions = [
        {"subject": who, "instruction": f"Tell {who} of the {what}."} for who in SUBJECTS for what in SIGHTS
    ]
    write_lines(folder / "utility_fluency.jsonl", instructions)
    return folder


def blank(who: str) -> dict[str, str]:
    """A probe of level 1."""
    return {"subject": who, "query": f"{who} lives in ___.", "answer": f"{who}ville", "type": "cloze", "level": "1"}


def question(who: str) -> dict[str, str]:
    """A probe of level 2."""
    return {
        "subject": who,
        "query": f"Where does {who} live?",
        "answer": f"{who}ville",
        "type": "simple question",
        "level": "2",
    }


def passage(who: str, about: str, number: int) -> dict[str, str | int]:
    """A passage for membership inference that goes with a person."""
    return {"subject": who, "text": f"Passage {number} for {who} tells of {about}.", "ngram": 32}
