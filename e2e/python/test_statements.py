"""docs/statements lists the tests of each statement. This test checks that each file, scene and test exists, and that links between pages
have a target. It needs no server."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
CRATES = {path.name.removeprefix("fanfare-") for path in (ROOT / "crates").iterdir()}
DIALECTS = ROOT / "crates/fanfare-dialects/src"
PAGES = sorted(page for page in (ROOT / "docs/statements").glob("*.md") if page.name != "README.md")
LINKED = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])


def rows(page):
    """The (line, statement, implemented in, shown by) of each row that is no heading."""
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if not line.startswith("|") or line.startswith(("|---", "| statement |", "| **")):
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert len(cells) == 3, f"{page.name}:{number}: a row has three cells"
        yield number, *cells


def codes(cell):
    return re.findall(r"`([^`]+)`", cell)


def source(name, dialect):
    """The file of a path in the tables."""
    first, _, rest = name.partition("/")
    if not rest:
        return DIALECTS / dialect / name
    if first not in CRATES:
        return ROOT / name
    crate = ROOT / f"crates/fanfare-{first}"
    return crate / rest if rest.startswith("tests/it/") else crate / "src" / rest


def begins(titles, wanted):
    return any(title.startswith(wanted) for title in titles)


def exists(reference, dialect):
    """Whether such a test exists."""
    if script := re.fullmatch(r"([\w.]+\.test\.js): (.+)", reference):
        path = ROOT / "e2e/js" / script[1]
        return path.exists() and begins(re.findall(r"\b(?:test|it)\(\s*['\"`](.+?)['\"`],", path.read_text()), script[2])
    if python := re.fullmatch(r"([\w/]+\.py)::(\w+)", reference):
        path = ROOT / "e2e/python" / python[1]
        return path.exists() and re.search(rf"^\s*(async )?def {python[2]}\(", path.read_text(), re.M) is not None
    if rust := re.fullmatch(r"([\w/]+\.rs)::(\w+)", reference):
        path = source(rust[1], dialect)
        return path.exists() and re.search(rf"\bfn {rust[2]}\(", path.read_text()) is not None
    if scene := re.fullmatch(r"(?:(\w+)/)?(\w+): (.+)", reference):
        path = DIALECTS / (scene[1] or dialect) / "transcripts" / f"{scene[2]}.txt"
        return path.exists() and (scene[3] == "*" or begins(re.findall(r"^== (.+)$", path.read_text(), re.M), scene[3]))
    return (ROOT / reference).is_file()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_the_tables_name_exists(page):
    missing = []
    for number, statement, code, tests in rows(page):
        missing += [f"{number}: {name}" for name in codes(code) if not source(name, page.stem).is_file()]
        missing += [f"{number}: {name}" for name in codes(tests) if not exists(name, page.stem)]
        if not codes(tests) and not tests.startswith(("not yet: ", "for clients", "no test: ", "measured ", "see ")):
            missing.append(f"{number}: nothing shows: {statement}")
        if not codes(code) and not tests.startswith(("not yet: ", "for clients")) and code != "all":
            missing.append(f"{number}: nothing does: {statement}")
    assert not missing, "\n".join([page.name, *missing])


@pytest.mark.parametrize("page", LINKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[\w-]*)?\)", page.read_text())
    local = [target for target in targets if "://" not in target]
    assert not [target for target in local if not (page.parent / target).exists()]
