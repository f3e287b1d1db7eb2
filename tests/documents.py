"""The pages of the documentation and their fenced blocks."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [README, *DOCS, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "deploy" / "README.md"]

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page in one language."""
    return [text for found, text in _BLOCK.findall(page.read_text()) if found == language]


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return _BLOCK.sub("", page.read_text())


def files(page: Path) -> dict[str, str]:
    """The Python blocks that are files, by the path in their first line: `# path.py`."""
    named = ((re.match(r"# (\S+\.py)\n", block), block) for block in blocks(page, "python"))
    return {match[1]: block for match, block in named if match}
