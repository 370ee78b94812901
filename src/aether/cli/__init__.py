"""The `aether` command: one file a group of commands, `main.py` joins them."""

from aether.cli.main import main

__all__ = ["main"]
