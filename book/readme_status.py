"""Writes the status table of the README: how far each paper is reproduced, by the records alone.

python book/readme_status.py            # rewrites the section between the two marker comments
python book/readme_status.py --check    # changes nothing; exit status 1 where the section is out of date
"""

import argparse
import sys
from pathlib import Path

from minigan import report

ROOT = Path(__file__).resolve().parents[1]
START, END = "<!-- status -->", "<!-- /status -->"


def updated(text: str) -> str:
    """The README's text with the table of today's records between the markers."""
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise ValueError(f"expected {START} and {END} in the README, got a text without them; add both")
    return f"{before}{START}\n\n{report.status_markdown(ROOT / 'data')}\n\n{END}{after}"


def main(arguments: list[str] | None = None) -> int:
    """Run the script; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--check", action="store_true", help="say whether the section is up to date")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md", help="the file to rewrite")
    options = parser.parse_args(arguments)
    text = options.readme.read_text(encoding="utf-8")
    new = updated(text)
    if options.check:
        print("up to date" if new == text else "out of date: run python book/readme_status.py")
        return 0 if new == text else 1
    options.readme.write_text(new, encoding="utf-8", newline="\n")
    print(options.readme)
    return 0


if __name__ == "__main__":
    sys.exit(main())
