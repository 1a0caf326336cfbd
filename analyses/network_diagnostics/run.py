"""The same as ``hepdl run analyses/network_diagnostics``, from Python."""

from __future__ import annotations

from pathlib import Path

import hepdl


def main() -> None:
    """Run the analysis and print the comparison and the verdicts."""
    run = hepdl.run(Path(__file__).parent)
    print(run.table())
    for name, numbers in run.metrics["models"].items():
        print(f"{name}: {'; '.join(numbers['diagnosis']['verdict'])}")
    print(f"report: {run.folder / 'report.html'}")


if __name__ == "__main__":
    main()
