"""The documentation agrees with the code: commands and snippets run, links resolve, lists are complete."""

import ast
import importlib.util
import re
import shlex
import shutil
import tomllib
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import cv2
import numpy as np
import pytest

from bundles import SHAPE, pictures
from commands import parse
from documents import DOCS, PAGES, README, ROOT, blocks, files, prose
from image_files import huggingface, write_parquet
from jobs.program import cli
from jobs.train import recipes
from vae_core import models
from vae_core.config import recipe_from_toml

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


class Command(NamedTuple):
    """A command of ours that a page shows."""

    page: Path
    job: str
    arguments: list[str]
    line: str
    is_block: bool
    """Whether it is a line of a fenced block, not a span in the text."""

    def __str__(self) -> str:
        return f"{self.page.name}: {self.line}"

    @property
    def is_whole(self) -> bool:
        """Whether it can be run as it is; text may also mention options alone."""
        return self.is_block or bool({"--output", "--run", "--bundle"} & set(self.arguments))


def commands(page: Path) -> list[Command]:
    """Every `vae JOB …` and `python -m jobs.JOB …` of a page."""
    fenced = "\n".join(blocks(page, "sh")).splitlines()
    spans = re.findall(r"`((?:vae|python -m jobs\.)[^`]*)`", prose(page))
    found = []
    for number, line in enumerate([*fenced, *spans]):
        words = shlex.split(line, comments=True)
        if "-m" in words and (match := re.fullmatch(r"jobs\.(\w+)", words[words.index("-m") + 1])):
            job, arguments = match[1], words[words.index("-m") + 2 :]
        elif words[:1] == ["vae"] and len(words) > 1:
            job, arguments = words[1], words[2:]
        else:
            continue
        if "…" not in arguments and "--help" not in arguments:
            found.append(Command(page, job, arguments, line, is_block=number < len(fenced)))
    return found


JOBS = {path.parent.name for path in (ROOT / "jobs").glob("*/__main__.py")}
ALL = [command for page in PAGES for command in commands(page)]
WHOLE = [command for command in ALL if command.is_whole]


@pytest.mark.parametrize("command", WHOLE, ids=str)
def test_commands_parse(command: Command) -> None:
    parse(command.job, command.arguments)


def test_jobs_and_options_that_the_text_names_exist() -> None:
    for page in PAGES:
        for span in re.findall(r"`([^`\n]+)`", prose(page)):
            words = span.split()
            if words[0] == "vae" and len(words) > 1:
                assert words[1] in JOBS | {"--version", "--print-completion", "COMMAND"}, f"{page.name}: {span}"
            if words[0] == "vae" or words[0].startswith("--"):
                flags = {word.split("=")[0] for word in words if re.match(r"--[a-z]", word)}
                assert flags <= OPTIONS | OTHERS, f"{page.name}: {span}"


# Options of every command, of Ray, of the benchmarks, and of kubectl.
OTHERS = {"--help", "--version", "--print-completion", "--quiet", "--log-format"}
OTHERS |= {"--entrypoint-num-cpus", "--working-dir", "--extra", "--cluster-start", "--torch-backend", "--dry-run"}


def _generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = _generate()
TABLES = [*map(generate.options, sorted(JOBS)), *map(generate.family, sorted(models.FAMILIES))]
OPTIONS = {option for table in TABLES for option in re.findall(r"^\| `(--[\w-]+)`", table, re.M)}


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_generated_parts_agree_with_the_code(page: Path) -> None:
    assert generate.filled(page.read_text()) == page.read_text(), "run `make docs`"


def test_every_module_is_listed() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    listed = set()
    for heading, section in re.findall(r"^#+ (\S+/\S+|vae_core|export|jobs)\n(.*?)(?=^#|\Z)", page, re.M | re.S):
        listed |= {f"{heading}/{name}" for name in re.findall(r"^\| `(\w+\.py)` \| \S", section, re.M)}
    modules = {
        path.relative_to(ROOT) for root in ("vae_core", "export", "jobs") for path in (ROOT / root).rglob("*.py")
    }
    assert listed == {str(path) for path in modules if path.name != "__init__.py"}


def test_every_job_has_a_page_with_its_options() -> None:
    for job in JOBS:
        assert f"<!-- generated: options {job} -->" in (ROOT / "docs" / f"{job}.md").read_text()


def test_the_readme_is_read_in_two_minutes() -> None:
    assert len(README.read_text().split()) <= 900


@every_page
def test_links_resolve(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), target


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_is_linked_from_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    assert {page.name for page in DOCS} - {"README.md"} <= set(re.findall(r"\((\w+\.md)\)", index))


@every_page
def test_make_targets_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", "\n".join(blocks(page, "sh")), re.M) + re.findall(
        r"`make (\w+)", page.read_text()
    ):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@every_page
def test_recipes_ship(page: Path) -> None:
    named = set(re.findall(r"--recipe ([\w-]+)\b(?!\.toml)", page.read_text()))
    assert named <= {*recipes.names()}


@every_page
def test_benchmarks_exist(page: Path) -> None:
    for line in re.findall(r"python -m (benchmarks\.[^`\n]*)", page.read_text()):
        module, *words = shlex.split(line, comments=True)
        path = ROOT / module.replace(".", "/")
        sources = list(path.glob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
        text = "\n".join(source.read_text() for source in sources)
        # Options may be those of another benchmark.
        for shared in re.findall(r"^from (benchmarks\.\w+) import", text, re.MULTILINE):
            if (module_file := ROOT / f"{shared.replace('.', '/')}.py").is_file():
                text += module_file.read_text()
        for flag in (word for word in words if word.startswith("--")):
            # As an argparse option, or as a field that tyro turns into one.
            assert f'"{flag}"' in text or f"    {flag[2:].replace('-', '_')}: " in text, line


@every_page
def test_recipes_in_toml_are_read(page: Path) -> None:
    for text in blocks(page, "toml"):
        if "project" not in tomllib.loads(text):
            recipe_from_toml(text, page.name)


def test_messages_are_those_of_the_program() -> None:
    """Each message under Troubleshooting is in the code, except for the parts that `…` stands for."""
    texts = [
        node.value
        for package in ("vae_core", "export", "jobs")
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    messages = re.findall(r"^\*\*`([^`]+)`\*\*", (ROOT / "docs" / "troubleshooting.md").read_text(), re.MULTILINE)
    assert len(messages) > 10
    for message in messages:
        for part in filter(None, (part.strip() for part in message.split("…"))):
            assert any(part in text for text in texts), f"{message}: {part}"


# The inputs of the pages' commands: a bundle, and folders of images.
FOLDERS = ("photos", "new-photos", "clean-photos", "test-photos", "drawings", "noise", "cracks", "crack-masks")
LABELLED = {"clean.parquet": 210, "new.parquet": 30}  # images in two classes
MASKED = "dents.parquet"
LISTS = {"outliers.csv": "clean-photos/3.png", "defects.txt": "new-photos/5.png"}
QUICK = {
    "prepare": [],
    "calibrate": [],
    "score": [],
    "sample": ["--count", "20"],
    "evaluate": ["--samples", "4", "--likelihood-images", "4", "--chains", "4", "--temperatures", "10"],
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for seed, name in enumerate(FOLDERS):
        (folder / name).mkdir()
        for number, image in enumerate(pictures(30, SHAPE, seed)):
            cv2.imwrite(str(folder / name / f"{number}.png"), image[0])
    for seed, (name, count) in enumerate(LABELLED.items()):
        write_parquet(folder / name, huggingface(pictures(count, SHAPE, seed)), label=[i % 2 for i in range(count)])
    for name, image in LISTS.items():
        (folder / name).write_text(f"{image}\n")
    masks = huggingface((pictures(30, SHAPE, 1) > 200).astype(np.uint8))
    write_parquet(folder / MASKED, huggingface(pictures(30, SHAPE)), mask=masks)
    return folder


@pytest.fixture
def reader(tmp_path: Path, images: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of a reader who follows a page."""
    for name in (*FOLDERS, *LABELLED, MASKED, *LISTS):
        (tmp_path / name).symlink_to(images / name)
    for name in ("bundles/photos", "demo/bundle"):
        shutil.copytree(bundle, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def is_runnable(command: Command) -> bool:
    """Whether a command needs no training, no cluster, no network, and no data but that of `reader`."""
    unusual = [w for w in command.arguments if "://" in w or "torchvision:" in w or w.isupper() or w in ("ray", "auto")]
    return command.job in QUICK and command.is_whole and not unusual


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(map(is_runnable, commands(page)))], ids=lambda p: p.name
)
def test_commands_run(page: Path, reader: Path) -> None:
    for command in filter(is_runnable, commands(page)):
        cli.main([command.job, *command.arguments, *QUICK[command.job]])


WITH_SNIPPETS = [page for page in PAGES if blocks(page, "python") and not files(page)]  # others: test_extending.py


@pytest.mark.parametrize("page", WITH_SNIPPETS, ids=lambda page: page.name)
def test_snippets_run(page: Path, reader: Path) -> None:
    """The Python of a page, from the first block to the last."""
    if "scored/" in "".join(blocks(page, "python")):
        cli.main(["score", "--bundle", "bundles/photos", "--images", "new-photos/", "--output", "scored/"])
    namespace: dict[str, object] = {}
    for snippet in blocks(page, "python"):
        if "import ray" not in snippet:
            exec(compile(snippet, page.name, "exec"), namespace)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("page", [page for page in WITH_SNIPPETS if "import ray" in "".join(blocks(page, "python"))])
def test_snippets_run_on_ray(page: Path, reader: Path) -> None:
    """Each block that uses Ray by itself, as a script."""
    for snippet in blocks(page, "python"):
        if "import ray" in snippet:
            namespace: dict[str, object] = {"__name__": "__main__"}  # whose classes travel by value
            exec(compile(snippet, page.name, "exec"), namespace)
            table = namespace["table"]
            assert len(table) == len(list((reader / "new-photos").iterdir()))  # type: ignore[arg-type]


def test_snippets_import_no_more_than_they_need() -> None:
    """Every name that a snippet imports is used in it or in a later one."""
    for page in PAGES:
        text = "\n".join(blocks(page, "python"))
        tree = ast.parse(text)
        imported = {
            alias.asname or alias.name.split(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }
        used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        assert imported <= used, f"{page.name}: {imported - used}"
