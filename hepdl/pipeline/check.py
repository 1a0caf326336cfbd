"""``hepdl check``: everything that can be known to be wrong before training."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hepdl.errors import DataError, HepdlError, unknown_name
from hepdl.events import Inputs, ParticleInputs
from hepdl.io import check_files, expand
from hepdl.kinematics import PARTICLE_FEATURES
from hepdl.pipeline import parts
from hepdl.pipeline.load import Analysis, load_analysis
from hepdl.pipeline.maps import in_words
from hepdl.pipeline.systematics import varied_schema
from hepdl.schema import Schema

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
        if not found:
            problems += _variation_problems(checked, name, process.files)
        lines.append(
            f"process {name}: {process.label or 'labels from a branch'}, {len(process.files)} files or patterns"
        )
    if problems:
        raise DataError("\n".join(problems))
    folds = checked.config.split.folds
    if folds is not None:
        lines.append(f"split: {folds} folds by event_number % {folds}, one fit of each seed a fold")
    if checked.config.systematics.ttrees:
        lines.append(f"variations: {', '.join(checked.config.systematics.ttrees)}")
    lines.append(f"schema {checked.schema.name}: {checked.schema.fingerprint()[:12]}")
    lines += [
        f"model {name}: {model.model}, loop {checked.config.train_of(name).loop}, "
        f"seeds {list(checked.config.train_of(name).seeds)}"
        for name, model in checked.config.models.items()
    ]
    for kind in ("combination", "posthoc"):
        lines += [f"{kind} {line}" for line in in_words(checked.config, kind)]
    return "\n".join([*lines, f"{checked.name}: nothing wrong found"])


def _variation_problems(checked: Analysis, name: str, files: Iterable[str]) -> list[str]:
    """Look at the first varied events of each file."""
    paths = [source.path for source in expand(files)]
    return [
        f"process {name}, variation {ttree}: {problem}"
        for ttree in checked.config.systematics.ttrees
        for problem in check_files(paths, varied_schema(checked.schema, ttree))
    ]


def _model_problems(checked: Analysis) -> list[str]:
    """Build every model once: a refused option is found here and not after an hour of reading."""
    problems = []
    for name, model in checked.config.models.items():
        where = f"models.{name}.options in {checked.path.name}"
        try:
            built = parts.build("models", model.model, model.options, where=where)
        except HepdlError as error:
            problems.append(f"{where}: {error}")
        else:
            problems += _input_problems(built.inputs, checked.schema, where=where)
    return problems


def _input_problems(inputs: Inputs, schema: Schema, *, where: str) -> list[str]:
    """Compare collections and particle features with what the schema has."""
    problems = []
    for recipe in (inputs.trees, inputs.particles):
        if recipe is None:
            continue
        if recipe.collection not in schema.collections:
            message = unknown_name("collection", recipe.collection, schema.collections, where=where)
            problems.append(message)
        elif isinstance(recipe, ParticleInputs):
            known = {*PARTICLE_FEATURES, *schema.collections[recipe.collection].branches}
            problems += [
                unknown_name("particle feature", name, known, where=where)
                for name in recipe.columns
                if name not in known
            ]
    return problems
