"""The default run of each analysis gives the numbers that stand in its expected.yaml."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import hepdl

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.simulation
@pytest.mark.parametrize(
    "analysis", sorted(p.parent for p in (ROOT / "analyses").glob("*/expected.yaml")), ids=str
)
def test_the_default_run_gives_the_expected_numbers(analysis: Path, tmp_path: Path) -> None:
    expected = yaml.safe_load((analysis / "expected.yaml").read_text())
    run = hepdl.run(analysis, output=tmp_path / "run", tracking_uri="none")
    metrics = run.metrics
    assert metrics["data"]["splits"] == expected["splits"]
    for name, numbers in expected["models"].items():
        found = metrics["models"][name]["auc"]["value"]
        # The events are the same; what is left is the rounding of another machine or number of
        # threads, which a training amplifies to about the spread between seeds.
        assert found == pytest.approx(numbers["auc"], abs=numbers["tolerance"]), name
