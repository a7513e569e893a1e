"""Multiple-choice tasks as the files that lm-eval reads, written without lm-eval: a source may bring some."""

import json
from collections.abc import Iterable, Sequence
from string import Template

from lethe import artifacts

# The options' own words are scored, not letters: a small model knows a fact long before it knows "A" to "D".
_TASK = Template("""\
task: $name
dataset_path: json
dataset_kwargs:
  data_files:
    test: $items
test_split: test
num_fewshot: 0
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: choices
doc_to_target: answer
target_delimiter: " "
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
  - metric: acc_norm
    aggregation: mean
    higher_is_better: true
metadata:
  version: 1
""")


def multiple_choice_task(name: str, items: Iterable[tuple[str, Sequence[str], int]]) -> dict[str, str]:
    """The files of a task, name to text: ``<name>.yaml`` for lm-eval and ``<name>.jsonl`` with the questions.

    An item is a question, its options and the index of the right one. lm-eval takes each option's
    log-likelihood after the question: ``acc`` picks the highest, ``acc_norm`` the highest per character; both
    in [0, 1], higher is better, chance is one over the number of options.
    """
    lines = (
        json.dumps({"question": question, "choices": list(choices), "answer": answer}, ensure_ascii=False)
        for question, choices, answer in items
    )
    path = (artifacts.TASKS / f"{name}.jsonl").as_posix()
    return {
        f"{name}.yaml": _TASK.substitute(name=name, items=path),
        f"{name}.jsonl": "".join(f"{line}\n" for line in lines),
    }
