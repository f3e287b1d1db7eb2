"""README.md in the output of a job: with it, `datasets.load_dataset` finds each of its tables by name.

Without it, `datasets` takes the folder for one of JSON if it has as many JSON files as tables, and joins tables with
different columns.
"""

from collections.abc import Mapping

from export.storage import Folder

CARD = "README.md"


def write_dataset_card(output: Folder, title: str, tables: Mapping[str, tuple[str, int]]) -> None:
    """Write the card; the first table is the default.

    Args:
        output: of the job.
        title: what is in it.
        tables: name → pattern of its files, and its rows. Tables without rows are left out, as `datasets` refuses them.
    """
    patterns = {name: pattern for name, (pattern, rows) in tables.items() if rows}
    lines = ["---", "configs:"]
    for number, (name, pattern) in enumerate(patterns.items()):
        lines += [f"- config_name: {name}", *(["  default: true"] * (number == 0)), f"  data_files: {pattern}"]
    lines += ["---", "", f"# {title}", "", "```python", "from datasets import load_dataset", ""]
    lines += [f'{name} = load_dataset(".", "{name}", split="train")' for name in patterns]
    output.write_text(CARD, "\n".join([*lines, "```"]) + "\n")
