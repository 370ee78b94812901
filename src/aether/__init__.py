"""Aether: an automated trading platform for crypto spot markets.

Start reading at `docs/explanation/architecture.md`, then at a folder's opening docstring.
"""

__version__ = "0.1.0"
