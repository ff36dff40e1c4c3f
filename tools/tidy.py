#!/usr/bin/env python3
"""Runs clang-tidy over the project's files, in parallel, and remembers which ones were clean.

    tools/tidy.py BUILD_DIR [--jobs N] [--changed BASE] [--no-cache]

A file is checked again when it, a header of ours that it includes (however far), its compile
command, .clang-tidy or clang-tidy itself has changed. What third-party headers contain is not
looked at: they change with Debian's packages only; `--no-cache` checks everything.
`--changed BASE` checks only files that differ from the git revision BASE, or include one that does.
"""

import argparse
import concurrent.futures
import hashlib
import json
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
CLANG_TIDY = "clang-tidy-19"
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.MULTILINE)


class Includes:
    """Which of our files a file includes, directly or not, itself among them."""

    def __init__(self) -> None:
        self._direct: dict[pathlib.Path, list[pathlib.Path]] = {}

    def closure(self, path: pathlib.Path) -> set[pathlib.Path]:
        seen = {path}
        pending = [path]
        while pending:
            for included in self._directly(pending.pop()):
                if included not in seen:
                    seen.add(included)
                    pending.append(included)
        return seen

    def _directly(self, path: pathlib.Path) -> list[pathlib.Path]:
        if path not in self._direct:
            names = INCLUDE.findall(path.read_text())
            candidates = [place / name for name in names for place in (ROOT / "src", path.parent)]
            self._direct[path] = [file.resolve() for file in candidates if file.is_file()]
        return self._direct[path]


def compile_commands(build: pathlib.Path) -> dict[pathlib.Path, str]:
    """The compile command of each of our own files; generated ones are left out."""
    commands = {}
    for entry in json.loads((build / "compile_commands.json").read_text()):
        path = (pathlib.Path(entry["directory"]) / entry["file"]).resolve()
        # A file may have gone since the build was configured.
        if path.is_relative_to(ROOT) and not path.is_relative_to(ROOT / "build") and path.exists():
            commands[path] = entry["command"]
    return commands


def changed_since(base: str) -> set[pathlib.Path]:
    """Files that differ from `base` in the working tree, and new ones."""
    def paths(*command: str) -> list[str]:
        return subprocess.run(["git", *command], cwd=ROOT, check=True, capture_output=True,
                              text=True).stdout.split("\0")
    listed = paths("diff", "--name-only", "-z", base) \
        + paths("ls-files", "-oz", "--exclude-standard")
    return {(ROOT / path).resolve() for path in listed if path}


def fingerprint(files: set[pathlib.Path], command: str, common: bytes) -> str:
    digest = hashlib.sha256(common + command.encode())
    for path in sorted(files):
        digest.update(path.as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def check(build: pathlib.Path, path: pathlib.Path) -> tuple[bool, str, float]:
    """(clean, what clang-tidy says, seconds)"""
    started = time.monotonic()
    run = subprocess.run([CLANG_TIDY, "--quiet", "-p", str(build), str(path)], cwd=ROOT,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    said = "\n".join(line for line in run.stdout.splitlines()
                     if not re.fullmatch(r"\d+ warnings?( treated as errors?| generated\.)", line))
    return run.returncode == 0, said.strip(), time.monotonic() - started


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--changed", metavar="BASE")
    parser.add_argument("--no-cache", action="store_true")
    options = parser.parse_args()

    commands = compile_commands(options.build)
    includes = Includes()
    closures = {path: includes.closure(path) for path in commands}
    if options.changed:
        changed = changed_since(options.changed)
        closures = {path: files for path, files in closures.items() if files & changed}

    version = subprocess.run([CLANG_TIDY, "--version"], capture_output=True, check=True).stdout
    common = version + (ROOT / ".clang-tidy").read_bytes()
    cache = options.build / "tidy"
    cache.mkdir(exist_ok=True)
    stamps = {path: cache / fingerprint(files, commands[path], common)
              for path, files in closures.items()}
    known = {path for path, stamp in stamps.items() if stamp.exists() and not options.no_cache}
    todo = sorted(stamps.keys() - known, key=lambda path: -path.stat().st_size)

    failures = 0
    with concurrent.futures.ThreadPoolExecutor(max_workers=max(1, options.jobs)) as pool:
        runs = {pool.submit(check, options.build, path): path for path in todo}
        for run in concurrent.futures.as_completed(runs):
            clean, said, seconds = run.result()
            name = runs[run].relative_to(ROOT)
            print(f"clang-tidy: {name} {'ok' if clean else 'FAILED'} ({seconds:.1f} s)", flush=True)
            if clean:
                stamps[runs[run]].touch()
            else:
                failures += 1
                print(said, flush=True)
    for stamp in set(cache.iterdir()) - set(stamps.values()):
        if not options.changed:
            stamp.unlink()
    print(f"clang-tidy: {len(todo)} files checked, {len(known)} unchanged since they were clean, "
          f"{failures} with findings")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
