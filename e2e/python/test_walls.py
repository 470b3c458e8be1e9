"""The walls of the source: the permitted dependencies of each crate, no cycles between modules, and the length of files and functions. It
only reads the source; it builds nothing and needs no server."""

import functools
import pathlib
import re
import tomllib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
CRATES = {path.name: path for path in sorted((ROOT / "crates").iterdir()) if (path / "Cargo.toml").exists()}

# The crates that each crate may use. A new crate must be added here.
MAY_USE = {
    "fanfare-core": [],
    "fanfare-ws": [],
    "fanfare-accounts": ["core"],
    "fanfare-dialects": ["core"],
    "fanfare-cluster": ["core"],
    "fanfare-transports": ["core", "cluster"],
    "fanfare-engine": ["core", "ws"],
    "fanfare-bench": ["core", "accounts", "cluster", "dialects", "ws"],
    "fanfare-server": ["core", "accounts", "bench", "cluster", "dialects", "engine", "transports", "ws"],
}
MOST_LINES, MOST_LINES_OF_A_FUNCTION = 500, 70

# The remaining exceptions. An entry that no longer holds also fails, so each list only shrinks.
CYCLES_LEFT = {}
LONG_FUNCTIONS_LEFT = set()
# Names of types that occur more than once in their crate: the folders of dialects and of transports share the names of one role.
SHARED_NAMES_LEFT = {
    "fanfare-transports": "Connection Names Subscriptions",
}
# Words that are also the name of a dialect.
OTHER_WORDS = {
    "crates/fanfare-server/src/auth/identity.rs rooms",  # a claim
    "crates/fanfare-server/src/http/api/connections.rs notify",  # an example in a description
    "crates/fanfare-server/src/resp/commands/table.rs echo",  # a Redis command
    "crates/fanfare-transports/src/nats/login.rs echo",  # an option of NATS
}


def without_comments(text):
    """The code of `text`, line for line, without comments and string literals."""
    token = re.compile(
        r"//[^\n]*|/\*.*?\*/|b?r(#*)\".*?\"\1|b?\"(?:\\.|[^\"\\])*\"|b?'(?:\\(?:x..|u\{[^}]*\}|.)|[^'\\\n])'", re.S
    )
    blank = lambda found: '""' * (found[0][0] in "br\"") + "\n" * found[0].count("\n")
    return token.sub(blank, text)


def closing(text, start):
    """The index of the bracket that closes the one at `start`."""
    depth = 0
    for found in re.compile(r"[{}]").finditer(text, start):
        depth += 1 if found[0] == "{" else -1
        if depth == 0:
            return found.end()
    return len(text)


def without_tests(code):
    """`code` without the parts that are compiled only for tests; the lines stay."""
    attribute = re.compile(r"#\[cfg\((?:test|all\(test\b[^\]]*)\)\]\s*(?:#\[[^\]]*\]\s*)*")
    while found := attribute.search(code):
        is_field = re.compile(r"(?:pub(?:\([^)]*\))?\s+)?\w+\s*:[^:]").match(code, found.end())
        end = re.compile(r"," if is_field else r"[;{]").search(code, found.end())
        stop = end.end() if end[0] in ";," else closing(code, end.start())
        code = code[: found.start()] + "\n" * code.count("\n", found.start(), stop) + code[stop:]
    return code


def use_paths(tree, before=()):
    """The (path, name) of each leaf in the tree of a `use` declaration."""
    tree = tree.strip()
    if group := re.fullmatch(r"(?:(.*?)::)?\s*\{(.*)\}", tree, re.S):
        before += tuple(part.strip() for part in group[1].split("::")) if group[1] else ()
        depth, item = 0, ""
        for char in group[2] + ",":
            depth += (char == "{") - (char == "}")
            if char == "," and not depth:
                if item.strip():
                    yield from use_paths(item, before)
                item = ""
            else:
                item += char
        return
    path, _, name = (part.strip() for part in tree.partition(" as "))
    path = before + tuple(part.strip() for part in path.split("::"))
    if path[-1] == "self":
        path = path[:-1]
    yield path, name or path[-1]


class Crate:
    """The modules of a crate: the code, the uses and the re-exports of each."""

    def __init__(self, folder):
        self.source = folder / "src"
        self.code, self.files, self.passed_on = {}, {}, {}
        self.read((), self.source / "lib.rs")
        for module, code in self.code.items():
            declared = re.findall(r"\buse\s+([^;]+);", code)
            self.passed_on[module] = {name: path for tree in declared for path, name in use_paths(tree)}

    def read(self, module, file):
        code = without_tests(without_comments(file.read_text()))
        self.code[module], self.files[module] = code, file
        folder = file.parent if file.name in ("lib.rs", "mod.rs") else file.with_suffix("")
        for name in re.findall(r"\bmod\s+(\w+)\s*;", code):
            self.read((*module, name), next(path for path in (folder / f"{name}.rs", folder / name / "mod.rs") if path.exists()))

    def resolve(self, module, path, seen=()):
        """The module that defines the item at `path`, as seen from `module`; None if it is in another crate."""
        if path[0] == "crate":
            module, path = (), path[1:]
        elif path[0] in ("super", "self"):
            while path and path[0] in ("super", "self"):
                module, path = module[: len(module) - (path[0] == "super")], path[1:]
        elif (*module, path[0]) not in self.code:
            return None
        for index, name in enumerate(path):
            if (*module, name) in self.code:
                module = (*module, name)
            elif (through := self.passed_on.get(module, {}).get(name)) and (module, name) not in seen:
                return self.resolve(module, (*through, *path[index + 1 :]), (*seen, (module, name)))
            else:
                break
        return module

    def uses(self, module):
        """The modules of this crate that `module` uses."""
        code = self.code[module]
        paths = {path for tree in re.findall(r"\buse\s+([^;]+);", code) for path, _ in use_paths(tree)}
        paths |= {tuple(path.split("::")) for path in re.findall(r"(?<![\w:])(?:crate|super|self)(?:::\w+)+", code)}
        known = {inner[-1] for inner in self.code if inner and inner[:-1] == module}
        paths |= {tuple(path.split("::")) for path in re.findall(r"(?<![\w:])\w+(?:::\w+)+", code) if path.split("::")[0] in known}
        return {target for path in paths if path and (target := self.resolve(module, path)) is not None}

    def cycles(self):
        """The groups of sibling modules that use each other, at every level."""
        edges = {}
        for module in self.code:
            for target in self.uses(module):
                shared = next((n for n, (a, b) in enumerate(zip(module, target)) if a != b), None)
                if shared is not None:
                    edges.setdefault(module[: shared + 1], set()).add(target[: shared + 1])

        @functools.cache
        def reached(start):
            found, left = set(), [start]
            while left:
                new = edges.get(left.pop(), set()) - found
                found |= new
                left += new
            return found

        groups = {tuple(sorted(b for b in reached(a) if a in reached(b))) for a in edges if a in reached(a)}
        return [("::".join(group[0][:-1]), [path[-1] for path in group]) for group in sorted(groups)]


@functools.cache
def crate(name):
    return Crate(CRATES[name])


def sources():
    return [path for folder in CRATES.values() for path in sorted(folder.rglob("*.rs"))] + sorted((ROOT / "e2e/python").rglob("*.py"))


def own(path):
    return str(path.relative_to(ROOT))


def compare(found, left):
    assert not (new := sorted(set(found) - left)), "\n".join(new)
    assert not (done := sorted(left - set(found))), f"to be taken off the list: {done}"


@pytest.mark.parametrize("name", CRATES)
def test_a_crate_uses_those_below_it_only(name):
    manifest = tomllib.loads((CRATES[name] / "Cargo.toml").read_text())
    used = {used.removeprefix("fanfare-") for used in manifest.get("dependencies", {}) if used.startswith("fanfare-")}
    assert used <= set(MAY_USE[name])


def test_modules_do_not_use_each_other():
    found = {}
    for name in CRATES:
        for level, group in crate(name).cycles():
            found.setdefault(f"{name} {level}".strip(), set()).update(group)
    assert found == {level: set(modules.split()) for level, modules in CYCLES_LEFT.items()}


def test_the_check_finds_cycles(tmp_path):
    files = {
        "lib.rs": "mod a;\nmod b;\nmod c;\npub use b::Noun;\n#[cfg(test)]\nmod tests { use crate::c::Thing; }",
        "a.rs": "use crate::{Noun, c};\n// crate::b::more",
        "b.rs": 'pub struct Noun; // crate::a\nconst TEXT: &str = "crate::a";\nfn of() { super::a::call() }',
        "c.rs": "#[cfg(test)]\nmod tests { use crate::a; }",
    }
    (tmp_path / "src").mkdir()
    for name, text in files.items():
        (tmp_path / "src" / name).write_text(text)
    assert Crate(tmp_path).cycles() == [("", ["a", "b"])]


def test_files_are_short():
    assert [own(path) for path in sources() if len(path.read_text().splitlines()) > MOST_LINES] == []


def test_functions_are_short():
    found = []
    for name in CRATES:
        for module, code in crate(name).code.items():
            for start in re.finditer(r"\bfn\s+(\w+)(?:\[[^\]{]*\]|[^;{}])*\{", code):
                lines = code.count("\n", start.start(), closing(code, start.end() - 1)) + 1
                if lines > MOST_LINES_OF_A_FUNCTION:
                    found.append(f"{own(crate(name).files[module])} {start[1]}")
    compare(found, LONG_FUNCTIONS_LEFT)


def test_a_types_name_is_unique_in_its_crate():
    found = {}
    for name in CRATES:
        modules = {}
        for module, code in crate(name).code.items():
            for declared in re.findall(r"^(?:pub(?:\([^)]*\))?\s+)?(?:struct|enum|trait|type|union)\s+(\w+)", code, re.M):
                # In the dialects' crate, a role has the same name in sibling folders, and no name occurs twice in one.
                place = module[:1] if name == "fanfare-dialects" else ()
                modules.setdefault((place, declared), []).append(module)
        shared = {declared for (_, declared), places in modules.items() if len(places) > 1}
        if shared:
            found[name] = shared
    assert found == {name: set(names.split()) for name, names in SHARED_NAMES_LEFT.items()}


def test_the_registry_of_dialects_is_named_where_a_program_begins():
    found = [
        own(crate(name).files[module])
        for name in CRATES
        for module, code in crate(name).code.items()
        if "fanfare_dialects::" in code and not re.search(r"tests(/|\.rs$)", own(crate(name).files[module]))
    ]
    main = (CRATES["fanfare-server"] / "src/main.rs").read_text()
    # The load generator is a client, which chooses one of the dialects.
    assert found == ["crates/fanfare-bench/src/subscriptions.rs"] and "run(fanfare_dialects::REGISTRY)" in main


def test_a_dialect_is_named_in_its_folder_only():
    dialects = CRATES["fanfare-dialects"] / "src"
    # The load generator uses dialects as their clients do.
    elsewhere = [name for name in CRATES if name not in ("fanfare-dialects", "fanfare-bench")]
    names = "|".join(path.name for path in dialects.iterdir() if path.is_dir())
    found = [
        f"{own(crate(name).files[module])} {word}"
        for name in elsewhere
        for module in crate(name).code
        for word in set(re.findall(rf'"({names})"', without_tests(crate(name).files[module].read_text())))
    ]
    found += [
        f"{own(crate('fanfare-dialects').files[module])} {'::'.join(target)}"
        for module in crate("fanfare-dialects").code
        for target in crate("fanfare-dialects").uses(module)
        if module and target and (dialects / target[0]).is_dir() and target[0] != module[0]
    ]
    compare(found, OTHER_WORDS)
