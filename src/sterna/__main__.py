"""`python -m sterna` is `sterna`."""

from sterna.cli import main

main()
