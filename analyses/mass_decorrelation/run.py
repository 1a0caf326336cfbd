"""The same as ``hepdl run analyses/mass_decorrelation``, from Python."""

from __future__ import annotations

from pathlib import Path

import hepdl


def main() -> None:
    """Run the analysis and print the comparison."""
    run = hepdl.run(Path(__file__).parent)
    print(run.table())
    print(f"report: {run.folder / 'report.html'}")


if __name__ == "__main__":
    main()
