"""``hepdl check``: everything that can be known to be wrong before training."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hepdl.errors import DataError, HepdlError
from hepdl.io import check_files
from hepdl.pipeline import parts
from hepdl.pipeline.load import Analysis, load_analysis

__all__ = ["check_analysis"]


def check_analysis(analysis: Path, overrides: Iterable[str] = ()) -> str:
    """Check configuration, schema, models and the first events of each file.

    Args:
        analysis: A folder with ``analysis.yaml``, or a YAML file.
        overrides: ``KEY=VALUE`` texts.

    Returns:
        What the command line prints when nothing is wrong.

    Raises:
        ConfigError: Names every problem of the configuration.
        DataError: Names every problem of models and files.
    """
    checked = load_analysis(analysis, overrides)
    problems = _model_problems(checked)
    lines = []
    for name, process in checked.config.processes.items():
        if process.files is None:
            assert process.simulate is not None
            lines.append(
                f"process {name}: {process.label or 'labels from a branch'}, {checked.config.simulate.n_events} entries "
                f"from {process.simulate.generator}"
            )
            continue
        found = check_files(process.files, checked.schema)
        problems += [f"process {name}: {problem}" for problem in found]
        lines.append(
            f"process {name}: {process.label or 'labels from a branch'}, {len(process.files)} files or patterns"
        )
    if problems:
        raise DataError("\n".join(problems))
    lines.append(f"schema {checked.schema.name}: {checked.schema.fingerprint()[:12]}")
    lines += [
        f"model {name}: {model.model}, loop {checked.config.train_of(name).loop}, "
        f"seeds {list(checked.config.train_of(name).seeds)}"
        for name, model in checked.config.models.items()
    ]
    return "\n".join([*lines, f"{checked.name}: nothing wrong found"])


def _model_problems(checked: Analysis) -> list[str]:
    """Build every model once: a refused option is found here and not after an hour of reading."""
    problems = []
    for name, model in checked.config.models.items():
        where = f"models.{name}.options in {checked.path.name}"
        try:
            parts.build("models", model.model, model.options, where=where)
        except HepdlError as error:
            problems.append(f"{where}: {error}")
    return problems
