"""The project's own rules, the ones that no formatter, compiler or linter knows.

Each rule is a function from a file (or the tree) to findings. `style_test.py` feeds every rule a
bad snippet and then runs them all over the repository. To add a module, give it a floor in FLOORS;
to add a library, name the modules that may include it in THIRD_PARTY. An exception to a rule is
a line in the rule's own table, with its reason.
"""

import dataclasses
import pathlib
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator

# A module includes itself and modules on strictly lower floors.
FLOORS = {
    "base": 0,
    "coding": 1, "wire": 1, "policy": 1,
    "net": 2,
    "node": 3, "platform": 3,
    "pool": 4,
    "cache": 5,
    "proxy": 6, "admin": 6, "client": 6, "sim": 6,
    "app": 7,
}

# Edges on one floor, (from, to), each with its reason.
SAME_FLOOR_ALLOWED = {
    ("admin", "proxy"),  # its API and metrics show what the RESP front does
}

# Third-party headers by prefix, longest first match; None: in any module.
THIRD_PARTY = {
    "boost/asio": {"net"},
    "boost/beast": {"net"},
    "boost/system": {"net"},
    "boost/json": {"admin", "platform", "app"},
    "boost/unordered": None,
    "boost/container": None,
    "boost/intrusive": None,
    "openssl/": {"net"},
    "isa-l": {"coding"},
    "prometheus/": {"admin"},
    "CLI/": {"app"},
    "toml++/": {"app"},
    "spdlog/": {"base"},
    "fmt/": None,
    "tl/": {"base"},
    "xxhash": {"base", "cache"},
    "jemalloc/": {"app", "base"},
}

# What only tests and benchmarks beside the code include, by the end of the file's name.
TEST_LIBRARIES = {
    "gtest/": ("_test.cc", "_test.h"),
    "gmock/": ("_test.cc", "_test.h"),
    "rapidcheck": ("_test.cc", "_test.h"),
    "benchmark/": ("_bench.cc",),
}

# Folders of the kernel's and the C library's headers.
SYSTEM_FOLDERS = ("sys/", "linux/", "netinet/", "arpa/", "net/", "asm/", "sanitizer/")

# Ends of names that say nothing, and the files and types that may have them nevertheless.
EMPTY_SUFFIXES = ("Manager", "Helper", "Helpers", "Util", "Utils", "Impl")
NAMES_ALLOWED = {
    "asio_impl.cc",  # Asio's own word for the file that compiles it
}
NAME_REMEDY = ("say what it is in the vocabulary of the design: object, chunk, stripe, strip, "
               "version, node, instance, session, link, pool, platform, repair, warm-up")

# Files outside app/ that may throw, with the reason.
THROW_ALLOWED: set[str] = set()

# Files that may sleep, with the reason.
SLEEP_ALLOWED: set[str] = set()

FILE_LINES_MAX = 599
LINE_COLUMNS_MAX = 100

CPP = (".h", ".cc")
CODE = (".h", ".cc", ".py", ".sh")
NOT_TEXT = (".png", ".jpg", ".gif", ".ico", ".woff2", ".bin")
# Kept as they are: inputs of fuzzers and recorded data.
KEPT_AS_IS = ("tests/corpus/", "tests/data/")


@dataclasses.dataclass(frozen=True)
class Finding:
    path: str
    line: int
    rule: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}: {self.message}"


@dataclasses.dataclass(frozen=True)
class Source:
    """One file: its path from the root, as posix text, and what is in it."""

    path: str
    text: str

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]

    @property
    def module(self) -> str | None:
        """The module of a file of src/, else None."""
        parts = self.path.split("/")
        return parts[1] if len(parts) > 2 and parts[0] == "src" else None

    def lines(self) -> Iterator[tuple[int, str]]:
        return enumerate(self.text.split("\n"), start=1)

    def is_cpp(self) -> bool:
        return self.path.endswith(CPP)

    def finding(self, line: int, rule: str, message: str) -> Finding:
        return Finding(self.path, line, rule, message)


_CPP_TOKEN = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"(?P<delimiter>[^()\s]*)\(.*?\)(?P=delimiter)"'
    r'|"(?:\\.|[^"\\\n])*"|(?<![0-9A-Fa-f])\'(?:\\.|[^\'\\\n])*\'',
    re.DOTALL)


def code_of(text: str) -> str:
    """`text` without comments, strings and characters; lines keep their numbers."""
    return _CPP_TOKEN.sub(lambda match: " " + "\n" * match.group().count("\n"), text)


def matches(source: Source, pattern: str, *, code_only: bool = True) -> Iterator[tuple[int, str]]:
    text = code_of(source.text) if code_only else source.text
    for match in re.finditer(pattern, text):
        yield text.count("\n", 0, match.start()) + 1, match.group()


def includes(source: Source, opening: str) -> Iterator[tuple[int, str]]:
    closing = {'"': '"', "<": ">"}[opening]
    pattern = re.compile(rf"\s*#\s*include\s*{opening}([^{closing}]+){closing}")
    for number, line in source.lines():
        if match := pattern.match(line):
            yield number, match.group(1)


# --- Rules of one file --------------------------------------------------------------------------


def layering(source: Source) -> Iterator[Finding]:
    module = source.module
    if not source.is_cpp() or module is None:
        return
    if module not in FLOORS:
        yield source.finding(1, "layering", f"give module '{module}' a floor in "
                             "tests/style/rules.py")
        return
    for number, path in includes(source, '"'):
        target = path.split("/")[0]
        if "/" not in path or target not in FLOORS:
            yield source.finding(number, "layering", f'"{path}": write the path from src/, '
                                 f'"module/file.h"')
        elif target != module and FLOORS[target] >= FLOORS[module] \
                and (module, target) not in SAME_FLOOR_ALLOWED:
            yield source.finding(
                number, "layering",
                f'{module} (floor {FLOORS[module]}) includes "{path}" (floor {FLOORS[target]}): '
                f"only lower floors; declare the interface in {module} and pass it in")


def third_party(source: Source) -> Iterator[Finding]:
    module = source.module
    if not source.is_cpp() or module is None:
        return
    for number, path in includes(source, "<"):
        ends = next((e for p, e in TEST_LIBRARIES.items() if path.startswith(p)), None)
        if ends is not None:
            if not source.path.endswith(ends):
                yield source.finding(number, "third-party", f"<{path}> is for {' and '.join(ends)}")
            continue
        prefix = max((p for p in THIRD_PARTY if path.startswith(p)), key=len, default=None)
        if prefix is None:
            if "/" in path and not path.startswith(SYSTEM_FOLDERS):
                yield source.finding(number, "third-party",
                                     f"<{path}>: name its modules in tests/style/rules.py")
            continue
        allowed = THIRD_PARTY[prefix]
        if allowed is not None and module not in allowed:
            yield source.finding(number, "third-party", f"<{path}> stays in "
                                 f"{', '.join(sorted(allowed))}; {module} uses what these offer")


def header_opening(source: Source) -> Iterator[Finding]:
    if not source.path.endswith(".h"):
        return
    if not source.text.startswith("//"):
        yield source.finding(1, "header", "open it with a comment: purpose, thread-safety, "
                             "ownership, errors, cost")
    if not re.search(r"^#pragma once$", source.text, re.MULTILINE):
        yield source.finding(1, "header", "#pragma once is missing")


def size(source: Source) -> Iterator[Finding]:
    if not source.path.endswith(CODE):
        return
    count = source.text.count("\n")
    if count > FILE_LINES_MAX:
        yield source.finding(count, "size", f"{count} lines; split it below {FILE_LINES_MAX + 1}")
    for number, line in source.lines():
        if len(line) > LINE_COLUMNS_MAX:
            yield source.finding(number, "size", f"{len(line)} columns, {LINE_COLUMNS_MAX} at most")


def whitespace(source: Source) -> Iterator[Finding]:
    if source.text and not source.text.endswith("\n"):
        yield source.finding(source.text.count("\n") + 1, "whitespace", "no newline at the end")
    if source.text.endswith("\n\n"):
        yield source.finding(source.text.count("\n"), "whitespace", "empty lines at the end")
    for number, line in source.lines():
        if line != line.rstrip():
            yield source.finding(number, "whitespace", "spaces at the end of the line")
        if "\t" in line and source.path.endswith(CODE):
            yield source.finding(number, "whitespace", "a tab; indent with spaces")


def unfinished(source: Source) -> Iterator[Finding]:
    # Spelt apart, so that this file does not find itself.
    words = "|".join(("TO" "DO", "FIX" "ME", "XX" "X", "HA" "CK"))
    for number, word in matches(source, rf"\b(?:{words})\b", code_only=False):
        yield source.finding(number, "unfinished", f"{word}: finish it, or open an issue")


def using_std(source: Source) -> Iterator[Finding]:
    if source.is_cpp():
        for number, _ in matches(source, r"\busing\s+namespace\s+std\s*;"):
            yield source.finding(number, "using-std", "write std:: or name the one thing used")


def console(source: Source) -> Iterator[Finding]:
    if source.is_cpp() and source.module not in (None, "app"):
        for number, word in matches(source, r"\bstd::(?:cout|cerr|clog)\b"):
            yield source.finding(number, "console", f"{word} is for app/; use base/log.h")


def sleeping(source: Source) -> Iterator[Finding]:
    if source.is_cpp() and source.module is not None and source.path not in SLEEP_ALLOWED:
        for number, word in matches(source, r"\b(?:sleep_for|sleep_until|usleep|nanosleep)\b"):
            yield source.finding(number, "sleeping", f"{word} blocks its loop and makes tests slow "
                                 "and flaky; wait for the event, or use a timer of net/")


def throwing(source: Source) -> Iterator[Finding]:
    if source.is_cpp() and source.module not in (None, "app") and source.path not in THROW_ALLOWED:
        for number, _ in matches(source, r"\bthrow\b"):
            yield source.finding(number, "throwing", "expected failures are Result<T>, bugs CHECK")


def naming(source: Source) -> Iterator[Finding]:
    if not source.is_cpp() or source.module is None:
        return
    suffixes = "|".join(EMPTY_SUFFIXES)
    stem = source.name.rsplit(".", 1)[0]
    if re.search(rf"(?:^|_)(?:{suffixes.lower()})(?:_test|_bench|_fuzz)?$", stem) \
            and source.name not in NAMES_ALLOWED:
        yield source.finding(1, "naming", f"{source.name}: {NAME_REMEDY}")
    declared = rf"\b(?:class|struct|enum|using|concept)\s+(?:\[\[\w+\]\]\s*)?(?:class\s+)?\w*?" \
               rf"(?:{suffixes})\b"
    for number, text in matches(source, declared):
        name = text.split()[-1]
        if name not in NAMES_ALLOWED:
            yield source.finding(number, "naming", f"{name}: {NAME_REMEDY}")


FILE_RULES: tuple[Callable[[Source], Iterable[Finding]], ...] = (
    layering, third_party, header_opening, size, whitespace, unfinished, using_std, console,
    sleeping, throwing, naming)


# --- Rules of the tree --------------------------------------------------------------------------


def includes_exist(sources: dict[str, Source]) -> Iterator[Finding]:
    """A quoted include of src/ names a file of src/."""
    for source in sources.values():
        if source.module is None or not source.is_cpp():
            continue
        for number, path in includes(source, '"'):
            if "/" in path and path.split("/")[0] in FLOORS and f"src/{path}" not in sources:
                yield source.finding(number, "include", f'"{path}" does not exist')


def test_beside_subject(sources: dict[str, Source]) -> Iterator[Finding]:
    for path, source in sources.items():
        if source.module is None or not path.endswith("_test.cc"):
            continue
        stem = path.removesuffix("_test.cc")
        if f"{stem}.cc" not in sources and f"{stem}.h" not in sources:
            yield source.finding(1, "test-beside", f"no {stem}.h or {stem}.cc beside it; what "
                                 "crosses modules belongs in tests/")


def linked_floors(sources: dict[str, Source]) -> Iterator[Finding]:
    """CMakeLists.txt links what the floors allow, and knows every module."""
    source = sources.get("CMakeLists.txt")
    if source is None:
        return
    declared = set()
    for match in re.finditer(r"^infinicache_module\((\w+)(?:\s+DEPS\s+([^)]*))?\)", source.text,
                             re.MULTILINE):
        number = source.text.count("\n", 0, match.start()) + 1
        module = match.group(1)
        declared.add(module)
        for dependency in (match.group(2) or "").split():
            if dependency in FLOORS and FLOORS[dependency] >= FLOORS.get(module, -1) \
                    and (module, dependency) not in SAME_FLOOR_ALLOWED:
                yield source.finding(number, "layering", f"{module} links {dependency}, which is "
                                     "not on a lower floor")
    used = {s.module for s in sources.values() if s.module is not None and s.is_cpp()}
    for module in sorted(used - declared):
        yield source.finding(1, "layering", f"module {module} is not built")


def heading_anchors(text: str) -> set[str]:
    """The anchors that GitHub makes for a document's headings."""
    anchors: set[str] = set()
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    for heading in re.findall(r"^#{1,6}\s+(.*?)\s*#*$", text, re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
        slug = re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-")
        candidate, count = slug, 0
        while candidate in anchors:
            count += 1
            candidate = f"{slug}-{count}"
        anchors.add(candidate)
    return anchors


def document_links(sources: dict[str, Source], exists: Callable[[str], bool]) -> Iterator[Finding]:
    """Relative links of documents lead to a file or folder, and to a heading if they name one."""
    for path, source in sources.items():
        if not path.endswith(".md"):
            continue
        blanked = re.sub(r"^```.*?^```", lambda m: "\n" * m.group().count("\n"), source.text,
                         flags=re.MULTILINE | re.DOTALL)
        for match in re.finditer(r"\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)", blanked):
            link = match.group(1)
            number = blanked.count("\n", 0, match.start()) + 1
            if re.match(r"[a-z][a-z0-9+.-]*:", link):
                continue
            target, _, anchor = link.partition("#")
            resolved = path
            if target:
                resolved = _normalized((pathlib.PurePosixPath(path).parent / target).parts)
            if resolved is None or not exists(resolved):
                yield source.finding(number, "link", f"{link} leads nowhere")
            elif anchor and resolved in sources \
                    and anchor not in heading_anchors(sources[resolved].text):
                yield source.finding(number, "link", f"{link}: no such heading in {resolved}")


def _normalized(parts: tuple[str, ...]) -> str | None:
    result: list[str] = []
    for part in parts:
        if part == "..":
            if not result:
                return None
            result.pop()
        elif part != ".":
            result.append(part)
    return "/".join(result) or "."


# --- The repository -----------------------------------------------------------------------------


def tracked_paths(root: pathlib.Path) -> list[str]:
    """Files that git has or would add; without git (a tarball) everything outside build/."""
    try:
        listing = subprocess.run(
            ["git", "-c", "safe.directory=*", "ls-files", "-coz", "--exclude-standard"], cwd=root,
            capture_output=True, check=True).stdout.decode()
        paths = [path for path in listing.split("\0") if path]
    except (OSError, subprocess.CalledProcessError):
        paths = [path.relative_to(root).as_posix() for path in root.rglob("*")]
        paths = [path for path in paths if not path.startswith(("build/", ".git/"))]
    return sorted(path for path in paths if (root / path).is_file())


def load(root: pathlib.Path) -> tuple[dict[str, Source], list[Finding]]:
    """The text files under `root` by path, and findings about those that are not UTF-8."""
    sources: dict[str, Source] = {}
    findings: list[Finding] = []
    for path in tracked_paths(root):
        if path.endswith(NOT_TEXT) or path.startswith(KEPT_AS_IS):
            continue
        try:
            sources[path] = Source(path, (root / path).read_bytes().decode())
        except UnicodeDecodeError as error:
            findings.append(Finding(path, 1, "text", f"not UTF-8: {error}"))
    return sources, findings


def check_tree(root: pathlib.Path) -> list[Finding]:
    """Every finding of every rule, in order of path and line."""
    sources, findings = load(root)
    for source in sources.values():
        for rule in FILE_RULES:
            findings.extend(rule(source))
    findings.extend(includes_exist(sources))
    findings.extend(test_beside_subject(sources))
    findings.extend(linked_floors(sources))
    findings.extend(document_links(sources, lambda path: (root / path).exists()))
    return sorted(findings, key=lambda finding: (finding.path, finding.line, finding.rule))
