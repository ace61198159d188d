"""`python -m w2s_export` is `w2s-export`."""

from w2s_export.cli import main

main()
