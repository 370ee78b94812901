"""`python -m aether.cli`."""

from aether.cli.main import main

main()
