"""A folder laid out like MUSE: a few made-up texts to forget, to retain and never seen, and questions about them."""

from pathlib import Path

from tests.fake_tofu import write_lines

NUM_TEXTS = 3


def write(folder: Path) -> Path:
    """Write every file that the source reads, one of them for each form that a file may have."""
    for place, kind in (
        ("raw/forget", "harbour"),
        ("raw/retain1", "garden"),
        ("sust/forget_2", "bridge"),
        ("privleak/forget", "lantern"),
        ("privleak/retain", "meadow"),
        ("privleak/holdout", "oracle"),
    ):
        write_lines(folder / f"{place}.jsonl", [{"text": text(kind, number)} for number in range(NUM_TEXTS)])
    parts = [
        {"prompt": f"The tower stands at place {number}, and in it", "gt": f"lives watchman {number} with a lamp."}
        for number in range(NUM_TEXTS)
    ]
    write_lines(folder / "verbmem" / "forget.jsonl", parts)
    for split in ("forget_qa", "retain_qa", "forget_qa_icl", "retain_qa_icl"):
        pairs = [{"question": f"Who is {split} {number}?", "answer": f"Watchman {number}."} for number in range(2)]
        write_lines(folder / "knowmem" / f"{split}.jsonl", pairs)
    return folder


def text(kind: str, number: int) -> str:
    """One text, which stands in one file."""
    return f"In year {number} the {kind} was built. People came to the {kind} from all towns, {number} of them by ship."
