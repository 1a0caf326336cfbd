"""The page of a run: what it says around the figures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hepdl.pipeline.flow_report import DIAGNOSTICS, diagnostics_section
from hepdl.pipeline.maps import in_words
from hepdl.pipeline.work import Work
from hepdl.report.html import Block, Details, Page, Picture, Section, Text
from hepdl.report.sentences import headline
from hepdl.report.tables import (
    accounting_table,
    comparison_columns,
    difference_table,
    splits_table,
)
from hepdl.report.yields import significance_table, variations_table, yields_table

__all__ = ["build_page"]

FILES = {
    "metrics.json": "every number of this page",
    "scores.root": "per entry: event number, part, weight and the score of each model",
    "models/": "all that prediction needs",
    "figures/": "every figure as PNG and PDF",
    "config.yaml": "the configuration that ran",
    "environment.json": "versions, git state, device, seeds",
    "log.txt": "what happened",
    "record.jsonl": "the record that MLflow got",
}

DIFFERENCES = (
    "Paired differences, on the same test entries and replicas. The error has two parts: the "
    "bootstrap of the test events, and the spread between seeds."
)


def build_page(
    work: Work, metrics: Mapping[str, Any], pictures: Mapping[str, list[Picture]]
) -> Page:
    """Return the content of ``report.html``.

    Args:
        work: The run.
        metrics: The content of ``metrics.json``.
        pictures: The figures by section.
    """
    config = work.analysis.config
    folder = work.folder.path
    environment: dict[str, Any] = json.loads((folder / "environment.json").read_text("utf-8"))
    sections = [_comparison(metrics, pictures.get("Comparison", []))]
    sections += [
        Section(title, (*_tables(title, metrics), *blocks))
        for title, blocks in pictures.items()
        if title not in {"Comparison", "Data", DIAGNOSTICS}
    ]
    sections += diagnostics_section(work, pictures.get(DIAGNOSTICS, []))
    sections.append(_data(work, metrics, pictures.get("Data", [])))
    sections.append(_how(folder, environment))
    version = environment["versions"].get("hepdl", "")
    commit = environment["git"]["analysis"].get("commit", "no git repository")
    return Page(
        title=config.report.title or f"{config.analysis}: {config.description}".strip(": "),
        summary=_summary(work, metrics),
        sections=tuple(sections),
        footer=f"hepdl {version}, analysis at {commit[:12]}, {environment['device']}",
    )


def _summary(work: Work, metrics: Mapping[str, Any]) -> tuple[str, ...]:
    """Say who wins, on what."""
    config = work.analysis.config
    splits = metrics["data"]["splits"]
    n_train, n_test = sum(splits["train"].values()), sum(splits["test"].values())
    sizes = (
        f"{len(config.models)} models trained on {n_train} entries and compared on the same "
        f"{n_test} test entries, which were opened once."
    )
    if "folds" in metrics["data"]:
        k = len(metrics["data"]["folds"])
        sizes = (
            f"{len(config.models)} models, each trained {k} times: the entries with "
            f"event_number % {k} = f are scored by the training that left them out, so that all "
            f"{n_test} entries are test entries. A training had {n_train} entries on average."
        )
    lines = [sizes]
    flatten = config.weights.evaluation.flatten
    if flatten:
        lines.append(
            f"The spectra of {' and '.join(flatten)} are made the same in both classes by weights: "
            "they only reflect how the samples were made."
        )
    calibrated = {
        name: config.calibration_of(name).method
        for name in config.models
        if config.calibration_of(name).method != "none"
    }
    if calibrated:
        how = ", ".join(f"{name} ({method})" for name, method in calibrated.items())
        lines.append(f"Scores made probabilities on the validation part: {how}.")
    if config.posthoc:
        how = "; ".join(in_words(config, "posthoc"))
        lines.append(
            "Scores made flat after the training, by maps fitted to the background of the validation part: "
            f"{how}. They need the nuisances wherever they are applied."
        )
    if config.combinations:
        how = "; ".join(in_words(config, "combination"))
        lines.append(
            "Combinations of their scores, fitted on the validation part with the seeds that it "
            f"chose: {how}."
        )
    return (*lines, *headline(metrics))


def _comparison(metrics: Mapping[str, Any], pictures: list[Picture]) -> Section:
    blocks: list[Block] = [comparison_columns(metrics)]
    windows = {
        entry["window"]["selection"] for entry in metrics["models"].values() if "window" in entry
    }
    for window in sorted(windows):
        blocks.append(Text((f"Inside the window {window}, spectra flattened anew:",)))
        blocks.append(comparison_columns(metrics, selection="window"))
    blocks += pictures
    blocks.append(Text((DIFFERENCES,)))
    blocks.append(difference_table(metrics))
    return Section("Comparison", tuple(blocks))


def _tables(title: str, metrics: Mapping[str, Any]) -> tuple[Block, ...]:
    """Return the tables of a section, which stand above its figures."""
    if title == "Significance":
        return (yields_table(metrics), significance_table(metrics))
    return (variations_table(metrics),) if title == "Systematics" else ()


def _data(work: Work, metrics: Mapping[str, Any], pictures: list[Picture]) -> Section:
    blocks: list[Block] = [
        Text(
            ("Every entry that was read is either selected or charged to the first cut it fails.",)
        ),
        accounting_table(metrics),
        splits_table(metrics),
    ]
    skipped = metrics["data"]["accounting"].get("skipped", {})
    if skipped:
        lines = tuple(f"{file}: {reason}" for file, reason in skipped.items())
        blocks += [Text(("Files that could not be read and were skipped on request:",))]
        blocks += [Text(lines, as_list=True)]
    return Section("Data", (*blocks, *pictures))


def _how(folder: Path, environment: Mapping[str, Any]) -> Section:
    files = tuple(f"{name}: {what}" for name, what in FILES.items())
    return Section(
        "How it was made",
        (
            Text((f"Everything lies in {folder.name}:",)),
            Text(files, as_list=True),
            Details("Configuration", (folder / "config.yaml").read_text("utf-8")),
            Details("Environment", json.dumps(environment, indent=1)),
        ),
    )
