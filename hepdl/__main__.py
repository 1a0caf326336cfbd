"""``python -m hepdl`` and the ``hepdl`` command."""

from __future__ import annotations

from hepdl.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
