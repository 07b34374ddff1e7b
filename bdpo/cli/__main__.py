"""`python -m bdpo.cli`."""

from bdpo.cli import main

main()
