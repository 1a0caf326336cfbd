"""Variations and yields from one end to the other, against numbers that are counted by hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import hepdl
from hepdl.errors import ConfigError, DataError, HepdlError
from hepdl.evaluate.significance import asimov_significance
from hepdl.events.split import in_validation
from hepdl.io.tables import read_table
from hepdl.pipeline.check import check_analysis
from hepdl.pipeline.mapped import load_maps
from hepdl.pipeline.run import Run
from hepdl.pipeline.sensitivity import choose
from tests.integration.varied_files import (
    SIZES,
    table,
    varied,
    write_analysis,
    write_file,
    write_files,
)

FOLDS = {"folds": 3, "validation_fraction": 0.3}
# Cross-section [fb] times k-factor times filter efficiency times 10/fb.
EVENTS = {"signal": 5000.0, "tt": 7500.0, "other": 1000.0}
MODELS = ("boosted_trees", "boosted_trees_x", "stack")


def run(folder: Path, output: Path, **changes: Any) -> Run:
    write_files(folder)
    return hepdl.run(
        write_analysis(folder, **changes),
        output=output,
        data_dir=folder / "data",
        tracking_uri="none",
    )


@pytest.fixture(scope="module")
def by_hash(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("hash")
    return run(folder, folder / "run")


@pytest.fixture(scope="module")
def by_folds(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("folds")
    return run(folder, folder / "run", split=FOLDS)


def rows(run: Run, variation: str = "") -> dict[str, np.ndarray[Any, Any]]:
    name = f"scores_{variation}.root" if variation else "scores.root"
    return read_table(run.folder / name, ttree="scores")


def identity(table: dict[str, np.ndarray[Any, Any]]) -> list[tuple[int, int]]:
    return list(zip(table["process"].tolist(), table["event_number"].tolist(), strict=True))


def expected_yield(process: str, events: Any) -> float:
    nominal = table(process)
    generated = 3000.0 if process == "other" else np.asarray(nominal["generated"]).sum()
    selected = np.asarray(events["x"]) > -3
    return float(EVENTS[process] * np.asarray(events["w"])[selected].sum() / generated)


def test_varied_events_are_tested_if_and_only_if_their_twins_are(by_hash: Run) -> None:
    nominal, up = rows(by_hash), rows(by_hash, "up")
    part = dict(zip(identity(nominal), nominal["part"].tolist(), strict=True))
    tested = set(identity(up))
    assert all(part.get(event, 2) == 2 for event in tested)
    assert any(event not in part for event in tested)
    lost = {(code, 7 * k + 3) for code in range(3) for k in range(20)}
    missing = {event for event, code in part.items() if code == 2} - tested
    assert missing <= lost
    assert set(up["part"]) == {2}


def test_with_folds_a_varied_event_has_the_model_that_left_its_twin_out(by_folds: Run) -> None:
    up = rows(by_folds, "up")
    np.testing.assert_array_equal(up["fold"], up["event_number"] % 3)
    for name in MODELS:
        tagger = by_folds.load_model(name)
        for code, process in enumerate(SIZES):
            inside = up["process"] == code
            scores = tagger.predict([f"{by_folds.folder.parent}/{process}.root:up"])
            np.testing.assert_allclose(up[f"score_{name}"][inside], scores, atol=1e-6)


def test_twins_share_the_part_of_a_split_by_an_expression_that_varies(tmp_path: Path) -> None:
    split = {
        "expression": "x > 0",
        "parts": {"train": [0], "test": [1]},
        "validation_fraction": 0.3,
    }
    found = run(tmp_path, tmp_path / "run", split=split, combinations={})
    nominal, up = rows(found), rows(found, "up")
    part = dict(zip(identity(nominal), nominal["part"].tolist(), strict=True))
    assert all(part.get(event, 2) == 2 for event in identity(up))


def test_a_variation_that_changes_nothing_differs_by_exactly_nothing(by_folds: Run) -> None:
    for name in MODELS:
        entry = by_folds.metrics["models"][name]
        same = entry["systematics"]["same"]
        assert same["auc"] == entry["auc"]
        assert same["background_rejection"] == entry["background_rejection"]
        assert same["auc_difference"]["value"] == 0
        assert same["auc_difference"]["error"] == 0
        for ratios in (same, *same["working_points"].values()):
            for kind in ("signal_yield", "background_yield"):
                assert ratios[kind] == {"value": 1.0, "low": 1.0, "high": 1.0}


@pytest.mark.parametrize("split", ["by_hash", "by_folds"])
def test_areas_and_ratios_of_a_variation_are_those_of_its_rows(
    split: str, request: pytest.FixtureRequest
) -> None:
    found: Run = request.getfixturevalue(split)
    nominal, up = rows(found), rows(found, "up")
    test = nominal["part"] == 2
    for name in MODELS:
        entry = found.metrics["models"][name]
        numbers = entry["systematics"]["up"]
        score = up[f"score_{name}"]
        # No weight is negative in scikit-learn's area: positive and negative ones by hand.
        area = _area(up["label"], score, up["weight"])
        assert numbers["auc"]["value"] == pytest.approx(area, abs=1e-9)
        difference = numbers["auc_difference"]
        assert difference["value"] == pytest.approx(area - entry["auc"]["value"], abs=1e-9)
        assert difference["error"] > 0
        for efficiency in ("0.3", "0.5", "0.8"):
            point = numbers["working_points"][efficiency]
            passes = nominal[f"score_{name}"] >= point["cut"]
            of_signal = test & (nominal["label"] == 1)
            kept = nominal["weight"][of_signal & passes].sum() / nominal["weight"][of_signal].sum()
            assert kept >= float(efficiency) - 1e-9
            for code, kind in ((1, "signal_yield"), (0, "background_yield")):
                above = up["physical_weight"][(up["label"] == code) & (score >= point["cut"])].sum()
                before = nominal["physical_weight"][
                    test & passes & (nominal["label"] == code)
                ].sum()
                assert point[kind]["value"] == pytest.approx(above / before, rel=1e-6)


def _area(label: np.ndarray[Any, Any], score: Any, weight: Any) -> float:
    """Return the area with weights of either sign, from areas of positive ones."""
    total = 0.0
    sums = {code: weight[label == code].sum() for code in (0, 1)}
    for sign_1 in (1, -1):
        for sign_0 in (1, -1):
            chosen = np.where(label == 1, weight * sign_1 > 0, weight * sign_0 > 0)
            area = roc_auc_score(label[chosen], score[chosen], sample_weight=np.abs(weight[chosen]))
            share = [np.abs(weight[chosen & (label == c)]).sum() / sums[c] for c in (0, 1)]
            total += sign_1 * sign_0 * share[0] * share[1] * area
    return float(total)


@pytest.mark.parametrize("split", ["by_hash", "by_folds"])
def test_yields_are_those_of_all_events_whatever_the_split(
    split: str, request: pytest.FixtureRequest
) -> None:
    found: Run = request.getfixturevalue(split)
    nominal = rows(found)
    for code, process in enumerate(SIZES):
        entry = found.metrics["yields"][process]
        expected = expected_yield(process, table(process))
        # Weights are kept in single precision.
        assert entry["value"] == pytest.approx(expected, rel=1e-6)
        chosen = (nominal["process"] == code) & (nominal["part"] == 2)
        weight = nominal["physical_weight"][chosen]
        assert weight.sum() == pytest.approx(expected, rel=1e-6)
        assert entry["n_entries"] == chosen.sum()
        assert entry["statistical_error"] == pytest.approx(np.sqrt((weight**2).sum()))
        assert entry["n_effective"] == pytest.approx(weight.sum() ** 2 / (weight**2).sum())


def test_the_ratio_of_yields_is_that_of_whole_samples_normalised_alike(by_folds: Run) -> None:
    before = {p: expected_yield(p, table(p)) for p in SIZES}
    after = {p: expected_yield(p, varied(table(p))) for p in SIZES}
    up = by_folds.metrics["models"]["stack"]["systematics"]["up"]
    assert up["signal_yield"]["value"] == pytest.approx(after["signal"] / before["signal"])
    background = (after["tt"] + after["other"]) / (before["tt"] + before["other"])
    assert up["background_yield"]["value"] == pytest.approx(background, rel=1e-6)
    accounting = by_folds.metrics["data"]["variations"]["up"]["accounting"]
    assert accounting["read"] == sum(SIZES.values())


def test_what_is_prepared_is_reused(by_hash: Run, caplog: pytest.LogCaptureFixture) -> None:
    folder = by_hash.folder.parent
    with caplog.at_level("INFO"):
        hepdl.run(
            folder / "analysis.yaml",
            output=folder / "again",
            data_dir=folder / "data",
            tracking_uri="none",
            last_stage="prepare",
        )
    assert "variation up: prepared events reused" in caplog.text


def test_a_missing_ttree_is_named_with_its_file(tmp_path: Path) -> None:
    write_files(tmp_path)
    path = write_analysis(tmp_path, systematics={"ttrees": ["upp"]})
    with pytest.raises(DataError, match=r"signal\.root: no ttree 'upp'; did you mean 'up'"):
        check_analysis(path)
    with pytest.raises(DataError, match=r"tt\.root: no ttree 'upp'"):
        hepdl.run(path, output=tmp_path / "run", data_dir=tmp_path / "data", tracking_uri="none")
    assert not (tmp_path / "run" / "models").exists()


def test_a_file_that_is_skipped_is_skipped_in_every_version_and_in_the_sum(tmp_path: Path) -> None:
    write_files(tmp_path)
    shutil.copy(tmp_path / "signal.root", tmp_path / "signal_1.root")
    (tmp_path / "signal_2.root").write_text("not ROOT")
    processes = {
        "signal": {
            "label": "signal",
            "files": "signal*.root",
            "cross_section": 0.5,
            "sum_of_weights": "generated",
        },
        "tt": {"label": "background", "files": "tt.root", "cross_section": 1, "sum_of_weights": 5},
    }
    path = write_analysis(tmp_path, processes=processes)
    common = {"data_dir": tmp_path / "data", "tracking_uri": "none", "last_stage": "prepare"}
    with pytest.raises(DataError, match=r"signal_2\.root: not a ROOT file"):
        hepdl.run(path, output=tmp_path / "run", **common)
    found = hepdl.run(path, output=tmp_path / "skipped", skip_bad_files=True, **common)
    notes = json.loads((found.folder / "stages" / "prepare.json").read_text())
    generated = 2 * np.asarray(table("signal")["generated"]).sum()
    assert notes["sums_of_weights"]["signal"] == pytest.approx(generated)
    for variation in ("up", "same"):
        folder = Path(notes["variations"][variation])
        accounting = json.loads((folder / "accounting.json").read_text())["accounting"]
        assert accounting["read"] == 2 * SIZES["signal"] + SIZES["tt"]
        assert accounting["skipped"] == {}


@pytest.mark.parametrize(
    ("process", "message"),
    [
        (
            {"sum_of_weights": "generated"},
            r"processes\.other\.cross_section .*luminosity is 10 /fb",
        ),
        ({"cross_section": 1.0}, r"processes\.other\.sum_of_weights .*never that of the selected"),
        ({"cross_section": 1.0, "sum_of_weights": -2.0}, "is -2, which must be above 0"),
        ({"cross_section": 1.0, "sum_of_weights": "y"}, "y sums to -.* above 0"),
        ({"cross_section": 1.0, "sum_of_weights": "generate"}, "did you mean 'generated'"),
    ],
)
def test_a_yield_without_what_it_needs_is_refused_before_training(
    tmp_path: Path, process: dict[str, Any], message: str
) -> None:
    write_files(tmp_path)
    nominal = table("other")
    nominal["y"] = -abs(nominal["y"])
    write_file(tmp_path, "other", nominal)
    whole = {"cross_section": 1.0, "sum_of_weights": 5.0}
    processes = {
        "signal": {"label": "signal", "files": "signal.root", **whole},
        "other": {"label": "background", "files": "other.root", **process},
    }
    path = write_analysis(tmp_path, processes=processes)
    with pytest.raises(HepdlError, match=message):
        hepdl.run(path, output=tmp_path / "run", data_dir=tmp_path / "data", tracking_uri="none")
    assert not (tmp_path / "run" / "models").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"systematics": {"ttrees": ["nominal"]}}, "nominal is the nominal ttree"),
        ({"systematics": {"ttrees": ["up", "up"]}}, "names one twice"),
        (
            {"systematics": {"ttrees": ["up"], "nuisance": {"down": -1}}},
            "unknown ttree 'down'",
        ),
        (
            {"evaluate": {"background_uncertainty": 0.1}},
            "background_uncertainty .* needs a luminosity",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        check_analysis(write_analysis(tmp_path, **changes))


def test_a_process_with_weights_that_sum_to_nothing_has_no_yield(tmp_path: Path) -> None:
    write_files(tmp_path)
    nominal = table("other")
    nominal["w"] = -abs(nominal["w"])
    write_file(tmp_path, "other", nominal)
    with pytest.raises(DataError, match=r"process other: .* must be positive for a yield"):
        hepdl.run(
            write_analysis(tmp_path),
            output=tmp_path / "run",
            data_dir=tmp_path / "data",
            tracking_uri="none",
        )
    assert not (tmp_path / "run" / "models").exists()


@pytest.mark.parametrize("name", ["boosted_trees", "stack"])
def test_the_cut_of_a_fold_is_chosen_by_its_model_on_validation_events_of_the_others(
    by_folds: Run, name: str
) -> None:
    entry = by_folds.metrics["models"][name]["significance"]
    nominal = rows(by_folds)
    for fold in range(3):
        scores = _scores_by(by_folds, name, fold)
        code, number = nominal["process"], nominal["event_number"]
        names = np.array(list(SIZES))[code]
        chooses = in_validation(names, nominal["run_number"], number, fraction=0.3)
        chooses &= number % 3 != fold
        weight = nominal["physical_weight"][chooses].copy()
        label = nominal["label"][chooses]
        for kind in (0, 1):
            whole = nominal["physical_weight"][nominal["label"] == kind].sum()
            weight[label == kind] *= whole / weight[label == kind].sum()
        chosen = choose(label, scores[chooses], weight, 0.1)
        assert chosen is not None
        assert chosen.cut == pytest.approx(entry["cuts"][fold], abs=1e-6)


def _scores_by(run: Run, name: str, fold: int) -> np.ndarray[Any, Any]:
    """Return the scores of all events by the model of one fold, in the order of ``scores.root``."""
    if name == "stack":
        members = [_scores_by(run, m, fold) for m in ("boosted_trees", "boosted_trees_x")]
        fitted = load_maps(run.folder / "models" / name)[fold]
        return np.asarray(fitted.transform(np.column_stack(members)), dtype=np.float32)
    tagger = hepdl.load_model(run.folder / "models" / name / "folds" / str(fold))
    files = [f"{run.folder.parent}/{process}.root" for process in SIZES]
    return np.concatenate([tagger.predict([file]) for file in files])


@pytest.mark.parametrize("split", ["by_hash", "by_folds"])
def test_the_significance_is_that_of_the_test_events_behind_the_cut(
    split: str, request: pytest.FixtureRequest
) -> None:
    found: Run = request.getfixturevalue(split)
    nominal = rows(found)
    for name in MODELS:
        entry = found.metrics["models"][name]["significance"]
        cut = np.array(entry["cuts"])[nominal["fold"]]
        passes = (nominal["part"] == 2) & (nominal[f"score_{name}"].astype(float) >= cut)
        s, b = (
            nominal["physical_weight"][passes & (nominal["label"] == code)].sum() for code in (1, 0)
        )
        assert entry["signal"] == pytest.approx(s)
        assert entry["background"] == pytest.approx(b)
        assert entry["value"] == pytest.approx(float(asimov_significance(s, b, 0.1 * b)))
    page = (found.folder / "report.html").read_text()
    assert "Z behind the cut" in page
    assert "change of AUC" in page
    for figure in ("significance", "variations"):
        assert (found.folder / "figures" / f"{figure}.png").is_file()
