"""The picture of the README: the table and the verdict of a finished run, as the terminal shows them.

make demo && .venv/bin/python recipes/picture.py runs/demo docs/demo.svg
"""

from __future__ import annotations

import argparse
import io
import re
from pathlib import Path

from rich.console import Console

from sterna.result import load


def main() -> None:
    """Write the picture of one run."""
    reader = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    reader.add_argument("run", type=Path)
    reader.add_argument("picture", type=Path)
    given = reader.parse_args()
    result = load(given.run)
    console = Console(record=True, width=112, file=io.StringIO(), highlight=False)
    console.print("$ make demo\n", style="bold")
    *table, verdict = str(result).splitlines()
    for line in table:
        console.print(line, style="green" if line.endswith("ships") else None, markup=False)
    console.print(verdict, style="bold", markup=False)
    drawn = console.export_svg(title="sterna")
    # Without the fonts that it would fetch from elsewhere; the reader's own monospace font serves.
    given.picture.write_text(re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    main()
