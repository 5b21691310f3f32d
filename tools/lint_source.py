"""What the lint tools share: finding the rooms and their files, and reading C++ without its comments.

Not a program. check-layers, check-headers and check-style import it.
"""

import argparse
import pathlib
import re
import sys
import tempfile

OK, FOUND, USAGE = 0, 1, 2


class Unusable(Exception):
    """The tree cannot be checked at all: exit 2."""


def parse_arguments(description, epilog, add_options=None):
    parser = argparse.ArgumentParser(
        description=description, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parent.parent,
                        help="the checkout to look at (default: the one this tool lies in)")
    parser.add_argument("--self-test", action="store_true",
                        help="plant violations in a temporary tree and show that each is found")
    if add_options:
        add_options(parser)
    return parser.parse_args()


def rooms_of(root):
    """The rooms in CW_ROOMS of CMakeLists.txt, lowest first."""
    try:
        text = (root / "CMakeLists.txt").read_text()
    except OSError as error:
        raise Unusable(f"{error.filename}: {error.strerror}; give the checkout with --root") from error
    match = re.search(r"set\(\s*CW_ROOMS\s+([^)]*)\)", text)
    if not match:
        raise Unusable(f"{root}/CMakeLists.txt: no set(CW_ROOMS ...)")
    return match.group(1).split()


def files_of(folder, *suffixes):
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix in suffixes)


# A comment, or a literal that may contain what looks like one. Raw strings with a delimiter as well.
_TOKEN = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"(?P<d>[^()\\\s]*)\(.*?\)(?P=d)"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', re.DOTALL)


def without_comments(text):
    """The text with every comment blanked; line numbers stay."""
    def blank(match):
        token = match.group(0)
        if token.startswith("//") or token.startswith("/*"):
            return re.sub(r"[^\n]", " ", token)
        return token
    return _TOKEN.sub(blank, text)


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


def report(found, name, advice):
    """Prints what was found, as FILE:LINE: TEXT, and gives the exit status."""
    for line in found:
        print(line)
    if found:
        print(f"{name}: {len(found)} violation{'s' if len(found) != 1 else ''}; {advice}", file=sys.stderr)
        return FOUND
    return OK


class SelfTest:
    """Small trees with one planted violation each.

    case() writes `files`, a map from path to contents (None: no such file), over a tree that is right,
    runs the check and wants `expected` in what it finds; None wants nothing found.
    """

    def __init__(self, name, good_tree, check):
        self.name, self.good_tree, self.check = name, good_tree, check
        self.cases = self.failures = 0

    def case(self, title, files, expected):
        self.cases += 1
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            for path, text in {**self.good_tree, **files}.items():
                if text is None:
                    continue
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_bytes(text if isinstance(text, bytes) else text.encode())
            found = self.check(root)
        right = not found if expected is None else any(expected in line for line in found)
        if not right:
            self.failures += 1
            wanted = "nothing" if expected is None else repr(expected)
            print(f"{self.name}: {title}: found {found or 'nothing'}, want {wanted}")

    def exit_status(self):
        print(f"{self.name}: {self.cases - self.failures} of {self.cases} self-test cases pass")
        return FOUND if self.failures else OK


def main(run):
    try:
        sys.exit(run())
    except Unusable as error:
        print(error, file=sys.stderr)
        sys.exit(USAGE)
