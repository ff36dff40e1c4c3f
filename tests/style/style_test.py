#!/usr/bin/env python3
"""Tests the style rules on snippets that break them, then holds the repository to them.

    python3 tests/style/style_test.py            prints "N passed", or each finding with its place

Each test of a rule shows the rule firing and staying silent, so that a rule which rots into one
that finds nothing is noticed here.
"""

import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import rules  # noqa: E402
from rules import Source  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]


def found(rule, path: str, text: str) -> list[tuple[int, str]]:
    """What `rule` says about one file, as (line, rule name)."""
    return [(finding.line, finding.rule) for finding in rule(Source(path, text))]


def tree(*files: tuple[str, str]) -> dict[str, Source]:
    return {path: Source(path, text) for path, text in files}


class LayeringTest(unittest.TestCase):
    def test_a_lower_floor_and_the_module_itself_are_fine(self):
        self.assertEqual([], found(rules.layering, "src/net/a.cc",
                                   '#include "net/a.h"\n#include "base/result.h"\n'))

    def test_a_higher_floor_is_found(self):
        self.assertEqual([(2, "layering")], found(rules.layering, "src/base/a.h",
                                                  '#pragma once\n#include "net/loop.h"\n'))

    def test_the_same_floor_is_found_unless_listed(self):
        include = '#include "proxy/commands.h"\n'
        self.assertEqual([(1, "layering")], found(rules.layering, "src/client/a.cc", include))
        self.assertEqual([], found(rules.layering, "src/admin/a.cc", include))
        self.assertEqual([(1, "layering")],
                         found(rules.layering, "src/proxy/a.cc", '#include "admin/api.h"\n'))

    def test_a_file_in_a_subfolder_belongs_to_its_module(self):
        self.assertEqual([(1, "layering")], found(rules.layering, "src/platform/local/a.cc",
                                                  '#include "pool/pool.h"\n'))

    def test_tests_beside_the_code_obey_too(self):
        self.assertEqual([(1, "layering")], found(rules.layering, "src/wire/resp_test.cc",
                                                  '#include "proxy/front.h"\n'))

    def test_an_include_without_its_module_is_found(self):
        self.assertEqual([(1, "layering")], found(rules.layering, "src/net/a.cc",
                                                  '#include "loop.h"\n'))
        self.assertEqual([(1, "layering")], found(rules.layering, "src/net/a.cc",
                                                  '#include "../base/result.h"\n'))

    def test_a_module_without_a_floor_is_found(self):
        self.assertEqual([(1, "layering")], found(rules.layering, "src/misc/a.cc", "int a;\n"))

    def test_bench_and_tests_may_include_anything(self):
        for path in ("bench/load.cc", "tests/fault/a.cc"):
            self.assertEqual([], found(rules.layering, path, '#include "app/config.h"\n'))

    def test_an_include_in_a_comment_does_not_count(self):
        self.assertEqual([], found(rules.layering, "src/base/a.h", '// #include "net/a.h"\n'))

    def test_links_obey_the_floors(self):
        files = tree(("CMakeLists.txt", "infinicache_module(base DEPS fmt)\n"
                      "infinicache_module(wire DEPS base\n  policy)\n"))
        self.assertEqual([2], [finding.line for finding in rules.linked_floors(files)])

    def test_a_module_that_is_not_built_is_found(self):
        files = tree(("CMakeLists.txt", "infinicache_module(base)\n"), ("src/net/a.cc", ""))
        self.assertEqual(1, len(list(rules.linked_floors(files))))


class ThirdPartyTest(unittest.TestCase):
    def test_each_library_stays_in_its_module(self):
        for header, home in (("boost/asio/post.hpp", "net"), ("boost/beast/http.hpp", "net"),
                             ("openssl/hmac.h", "net"), ("isa-l.h", "coding"),
                             ("isa-l/erasure_code.h", "coding"), ("boost/json.hpp", "admin"),
                             ("prometheus/registry.h", "admin"), ("CLI/CLI.hpp", "app"),
                             ("toml++/toml.h", "app"), ("spdlog/spdlog.h", "base"),
                             ("tl/expected.hpp", "base"), ("xxhash.h", "cache")):
            include = f"#include <{header}>\n"
            self.assertEqual([], found(rules.third_party, f"src/{home}/a.cc", include), header)
            self.assertEqual([(1, "third-party")],
                             found(rules.third_party, "src/policy/a.cc", include), header)

    def test_system_and_standard_headers_and_fmt_are_fine(self):
        text = "#include <vector>\n#include <sys/mman.h>\n#include <fmt/format.h>\n"
        self.assertEqual([], found(rules.third_party, "src/policy/a.cc", text))

    def test_a_library_that_nobody_named_is_found(self):
        self.assertEqual([(1, "third-party")],
                         found(rules.third_party, "src/net/a.cc", "#include <absl/time/time.h>\n"))

    def test_test_libraries_are_for_tests(self):
        include = "#include <gtest/gtest.h>\n"
        self.assertEqual([], found(rules.third_party, "src/base/a_test.cc", include))
        self.assertEqual([(1, "third-party")], found(rules.third_party, "src/base/a.cc", include))


class FileTest(unittest.TestCase):
    def test_a_header_opens_with_a_comment_and_pragma_once(self):
        self.assertEqual([], found(rules.header_opening, "src/a/a.h", "// What.\n#pragma once\n"))
        self.assertEqual([(1, "header")],
                         found(rules.header_opening, "src/a/a.h", "#pragma once\n// What.\n"))
        self.assertEqual([(1, "header")], found(rules.header_opening, "src/a/a.h", "// What.\n"))
        self.assertEqual([], found(rules.header_opening, "src/a/a.cc", "int a;\n"))

    def test_a_file_has_fewer_than_600_lines(self):
        self.assertEqual([], found(rules.size, "src/a/a.cc", "\n" * 599))
        self.assertEqual([(600, "size")], found(rules.size, "src/a/a.cc", "\n" * 600))

    def test_a_line_has_at_most_100_characters(self):
        self.assertEqual([], found(rules.size, "src/a/a.cc", "é" * 100 + "\n"))
        self.assertEqual([(2, "size")], found(rules.size, "src/a/a.py", "\n" + "x" * 101 + "\n"))

    def test_whitespace(self):
        self.assertEqual([], found(rules.whitespace, "src/a/a.cc", "int a;\n"))
        self.assertEqual([], found(rules.whitespace, "src/a/empty.py", ""))
        self.assertEqual([(1, "whitespace")], found(rules.whitespace, "a.md", "no end"))
        self.assertEqual([(2, "whitespace")], found(rules.whitespace, "a.md", "end\n\n"))
        self.assertEqual([(1, "whitespace")], found(rules.whitespace, "a.cmake", "set(a) \n"))
        self.assertEqual([(1, "whitespace")], found(rules.whitespace, "a.py", "\tpass\n"))
        self.assertEqual([], found(rules.whitespace, "Makefile", "all:\n\techo\n"))

    def test_unfinished_work_is_found_in_every_kind_of_file(self):
        for word in ("TO" "DO", "FIX" "ME", "XX" "X", "HA" "CK"):
            self.assertEqual([(2, "unfinished")],
                             found(rules.unfinished, "docs/a.md", f"a\n{word}: later\n"))
        self.assertEqual([], found(rules.unfinished, "a.sh", "mktemp /tmp/a.XX" "XXXX\n"))

    def test_using_namespace_std(self):
        self.assertEqual([(1, "using-std")],
                         found(rules.using_std, "bench/a.cc", "using namespace std;\n"))
        self.assertEqual([], found(rules.using_std, "bench/a.cc",
                                   "using namespace std::chrono_literals;\n"))

    def test_the_console_is_for_app(self):
        line = 'void F() { std::cout << "x"; }\n'
        self.assertEqual([(1, "console")], found(rules.console, "src/net/a.cc", line))
        self.assertEqual([], found(rules.console, "src/app/a.cc", line))
        for text in ("// std::cout\n", 'F("std::cout");\n'):
            self.assertEqual([], found(rules.console, "src/net/a.cc", text))

    def test_nothing_sleeps(self):
        line = "std::this_thread::sleep_for(1s);\n"
        self.assertEqual([(1, "sleeping")], found(rules.sleeping, "src/net/a_test.cc", line))
        self.assertEqual([], found(rules.sleeping, "tests/fault/a.cc", line))

    def test_nothing_throws_outside_app(self):
        line = "if (bad) throw std::runtime_error(why);\n"
        self.assertEqual([(1, "throwing")], found(rules.throwing, "src/net/a.cc", line))
        self.assertEqual([], found(rules.throwing, "src/app/a.cc", line))
        self.assertEqual([], found(rules.throwing, "src/net/a.h",
                                   '/* may\n throw */ F("throw"); int rethrow_count;\n'))

    def test_empty_words_in_names(self):
        for text in ("class NodeManager {\n", "struct ReadHelper;\n", "using StripUtil = int;\n",
                     "enum class LinkImpl {\n", "class [[nodiscard]] PoolManager final {\n"):
            self.assertEqual([(1, "naming")], found(rules.naming, "src/pool/a.h", text), text)
        for text in ("class Managers {\n", "class ImplicitLink {\n", "// class NodeManager\n"):
            self.assertEqual([], found(rules.naming, "src/pool/a.h", text), text)

    def test_empty_words_in_file_names(self):
        for path in ("src/pool/node_manager.h", "src/base/utils.cc", "src/net/helper_test.cc"):
            self.assertEqual([(1, "naming")], found(rules.naming, path, ""), path)
        for path in ("src/net/asio_impl.cc", "src/net/implicit.h"):
            self.assertEqual([], found(rules.naming, path, ""), path)


class CodeOfTest(unittest.TestCase):
    def test_comments_and_strings_go_lines_stay(self):
        text = 'a; // b\n/* c\n d */ e("f\\"g", \'"\'); R"x(h\n")x"; i\n'
        code = rules.code_of(text)
        self.assertEqual(text.count("\n"), code.count("\n"))
        self.assertEqual(["a;", "e(", ",", ");", ";", "i"], code.split())

    def test_digit_separators_are_not_characters(self):
        self.assertEqual("f(1'000'000); throw x;",
                         rules.code_of("f(1'000'000); throw x;"))


class TreeTest(unittest.TestCase):
    def test_an_include_of_nothing_is_found(self):
        files = tree(("src/net/a.cc", '#include "base/gone.h"\n#include "net/a.h"\n'),
                     ("src/net/a.h", ""))
        self.assertEqual([1], [finding.line for finding in rules.includes_exist(files)])

    def test_a_test_stands_beside_its_subject(self):
        files = tree(("src/net/a_test.cc", ""), ("src/net/a.h", ""), ("src/net/b_test.cc", ""),
                     ("src/net/b.cc", ""), ("src/net/c_test.cc", ""), ("tests/x_test.cc", ""))
        self.assertEqual(["src/net/c_test.cc"],
                         [finding.path for finding in rules.test_beside_subject(files)])

    def test_links_of_documents(self):
        text = ("[a](docs/a.md) [b](docs/gone.md)\n[web](https://example.org/x)\n"
                "[c](docs/a.md#second-part) [d](docs/a.md#third)\n[e](#top) ![p](../out.png)\n"
                "```\n[f](nowhere.md)\n```\n[g](docs) [h](src/)\n")
        files = tree(("README.md", "# Top\n" + text),
                     ("docs/a.md", "# First\n## Second, part\n[up](../README.md)\n"))
        existing = {"README.md", "docs/a.md", "docs", "src"}
        findings = list(rules.document_links(files, existing.__contains__))
        self.assertEqual([(2, "docs/gone.md leads nowhere"),
                          (4, "docs/a.md#third: no such heading in docs/a.md"),
                          (5, "../out.png leads nowhere")],
                         [(finding.line, finding.message) for finding in findings])

    def test_check_tree_runs_every_rule(self):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            (root / "src/net").mkdir(parents=True)
            (root / "src/net/a.h").write_text(
                '#include "app/config.h"\n#include <isa-l.h>\nusing namespace std;\n'
                "class LinkManager; \nauto x = std::cout; // " + "TO" "DO" + "\n"
                "void F() { sleep_for(1); throw 1; }")
            (root / "src/net/b_test.cc").write_text("")
            (root / "CMakeLists.txt").write_text("infinicache_module(wire DEPS net)\n")
            (root / "README.md").write_text("[x](gone.md)\n" + "y" * 200 + "\n")
            (root / "src/net/c.cc").write_text("// " + "z" * 100 + "\n")
            (root / "src/net/d.cc").write_bytes(b"\xff\xfe\n")
            fired = {finding.rule for finding in rules.check_tree(root)}
        self.assertEqual({"layering", "third-party", "header", "size", "whitespace", "unfinished",
                          "using-std", "console", "sleeping", "throwing", "naming", "include",
                          "test-beside", "link", "text"}, fired)


class RepositoryTest(unittest.TestCase):
    def test_the_repository_follows_the_rules(self):
        sources, _ = rules.load(ROOT)
        self.assertIn("src/base/result.h", sources, "the rules look at the wrong folder")
        findings = rules.check_tree(ROOT)
        if findings:
            self.fail(f"{len(findings)} findings\n" + "\n".join(map(str, findings)))


if __name__ == "__main__":
    program = unittest.main(exit=False, verbosity=0)
    if not program.result.wasSuccessful():
        sys.exit(1)
    print(f"{program.result.testsRun} passed")
