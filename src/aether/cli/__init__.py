"""The `aether` command: one file a group of commands, `main.py` joins them; `part.py` is a process of a platform."""
