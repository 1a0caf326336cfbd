"""Read an analysis: the file, the overrides, and every problem at once."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from hepdl.errors import ConfigError, HepdlError, unknown_name
from hepdl.kinematics import PARTICLE_FEATURES
from hepdl.pipeline import parts
from hepdl.pipeline.auxiliary import auxiliary_problems
from hepdl.pipeline.config import AnalysisConfig, DecorrelationConfig, ModelConfig, TrainConfig
from hepdl.pipeline.constants import constant_problems
from hepdl.pipeline.decorrelation import decorrelation_problems
from hepdl.pipeline.maps import map_problems, nuisance_problems
from hepdl.pipeline.reconstruction import PREFIX as BEST_PREFIX
from hepdl.pipeline.reconstruction import reconstruction_problems
from hepdl.pipeline.systematics import SYSTEMATIC, systematics_problems
from hepdl.pipeline.truth import truth_problems
from hepdl.pipeline.unlabelled import DOMAIN, unlabelled_problems
from hepdl.pipeline.yields import yield_problems
from hepdl.schema import Schema, load_schema, read_yaml, word_problems

__all__ = ["Analysis", "load_analysis"]

# What the pipeline itself hands to a generator or a loss; YAML may not.
GENERATOR_RESERVED = ("n_events", "seed", "schema", "n_processes", "progress")
LOSS_RESERVED = ("n_nuisances", "strength")
# Sections whose entries `--set SECTION.NAME=null` takes away.
REMOVABLE = ("models", "combinations", "posthoc", "processes")


@dataclass(frozen=True)
class Analysis:
    """A checked analysis.

    Attributes:
        path: The YAML file.
        config: The resolved configuration; all paths absolute.
        schema: What the files hold.
    """

    path: Path
    config: AnalysisConfig
    schema: Schema

    @property
    def folder(self) -> Path:
        """The folder that the paths in the file are relative to."""
        return self.path.parent

    @property
    def name(self) -> str:
        """The name of the analysis."""
        return self.config.analysis


def load_analysis(
    analysis: Path | str, overrides: Iterable[str] | Mapping[str, Any] = ()
) -> Analysis:
    """Read and check an analysis.

    Args:
        analysis: A folder with ``analysis.yaml``, or a YAML file.
        overrides: ``KEY=VALUE`` texts as on the command line, or a mapping of keys to values.

    Raises:
        ConfigError: Names every problem of the configuration with its key path.
    """
    path = _find(Path(analysis))
    content = read_yaml(path, error=ConfigError)
    for key, value in _parse_overrides(overrides):
        _set(content, key, value)
    try:
        config = AnalysisConfig.model_validate(content)
    except ValidationError as error:
        raise ConfigError(word_problems(error, AnalysisConfig, where=path)) from error
    config = _resolve(config, path.parent)
    problems = []
    schema = None
    try:
        schema = load_schema(config.schema_)
    except HepdlError as error:
        problems.append(str(error))
    problems += _check_parts(config, path)
    problems += auxiliary_problems(config, file=path.name)
    problems += map_problems(config, file=path.name)
    problems += yield_problems(config, file=path.name)
    if schema is not None:
        problems += _check_names(config, schema, path)
    if problems or schema is None:
        raise ConfigError("\n".join(problems))
    return Analysis(path, config, schema)


def _find(path: Path) -> Path:
    found = path / "analysis.yaml" if path.is_dir() else path
    if not found.is_file():
        message = (
            f"no analysis at {path}: give a folder that holds analysis.yaml, or a YAML file "
            f"({'the folder has none' if path.is_dir() else 'there is no such file'})"
        )
        raise ConfigError(message)
    return found.absolute()


def _parse_overrides(overrides: Iterable[str] | Mapping[str, Any]) -> list[tuple[str, Any]]:
    if isinstance(overrides, Mapping):
        return list(overrides.items())
    parsed = []
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            message = f"--set {text!r}: write KEY=VALUE, e.g. --set train.epochs=3"
            raise ConfigError(message)
        try:
            parsed.append((key.strip(), yaml.safe_load(value)))
        except yaml.YAMLError as error:
            message = f"--set {text!r}: the value is not YAML ({error})"
            raise ConfigError(message) from error
    return parsed


def _set(content: dict[str, Any], key: str, value: Any) -> None:
    """Set a nested key; None takes an entry of a mapping such as ``models.mlp`` away."""
    *path, last = key.split(".")
    place = content
    for i, name in enumerate(path):
        inner = place.get(name)
        if inner is None:
            inner = place[name] = {}
        if not isinstance(inner, dict):
            where = ".".join(path[: i + 1])
            message = f"--set {key}: {where} is {inner!r}, not a mapping: there is no key below it"
            raise ConfigError(message)
        place = inner
    if value is None and len(path) == 1 and path[0] in REMOVABLE:
        if last not in place:
            kind = path[0].removesuffix("s")
            raise ConfigError(unknown_name(kind, last, place, where=f"--set {key}"))
        del place[last]
    else:
        place[last] = copy.deepcopy(value)


def _resolve(config: AnalysisConfig, folder: Path) -> AnalysisConfig:
    """Make paths absolute and write the plain twin of each decorrelated network out."""

    def absolute(text: str) -> str:
        return text if "://" in text else str(folder / text)

    processes = {
        name: process
        if process.files is None
        else process.model_copy(update={"files": tuple(absolute(f) for f in process.files)})
        for name, process in config.processes.items()
    }
    return config.model_copy(
        update={
            "schema_": (folder / config.schema_).resolve(),
            "processes": processes,
            "models": _with_twins(_with_decay(config)),
        }
    )


def _with_decay(config: AnalysisConfig) -> AnalysisConfig:
    """Give every model that is built after a decay that of the reconstruction."""
    if config.reconstruction is None or config.reconstruction.decay is None:
        return config
    decay = {"decay": config.reconstruction.decay}
    models = {
        name: model.model_copy(update={"options": decay | model.options})
        if "decay" in parts.accepted("models", model.model)
        else model
        for name, model in config.models.items()
    }
    return config.model_copy(update={"models": models})


def _with_twins(config: AnalysisConfig) -> dict[str, ModelConfig]:
    models: dict[str, ModelConfig] = {}
    off = DecorrelationConfig()
    for name, model in config.models.items():
        wanted = config.decorrelation_of(name)
        # What is said of one model holds for it; the general section is for networks.
        chosen = (
            model.decorrelation is not None
            or (wanted.models is None and model.model != "boosted_trees")
            or (wanted.models is not None and name in wanted.models)
        )
        if not (wanted.is_on and chosen):
            models[name] = model.model_copy(update={"decorrelation": off})
            continue
        for point, settings in wanted.points(name).items():
            models[point] = model.model_copy(update={"decorrelation": settings})
        twin = f"{name}_plain"
        if wanted.reference and twin not in config.models:
            models[twin] = model.model_copy(update={"decorrelation": off})
    return models


def _check_parts(config: AnalysisConfig, path: Path) -> list[str]:
    problems = []
    for name, process in config.processes.items():
        if process.simulate is not None:
            options = config.simulate.options | process.simulate.options
            problems += parts.check(
                "generators",
                process.simulate.generator,
                options,
                where=f"processes.{name}.simulate in {path.name}",
                reserved=GENERATOR_RESERVED,
            )
    for name, model in config.models.items():
        where = f"models.{name}.options in {path.name}"
        problems += parts.check("models", model.model, model.options, where=where)
        try:
            train = config.train_of(name)
        except ValidationError as error:
            problems.append(
                word_problems(error, TrainConfig, where=path, key=f"models.{name}.train")
            )
        else:
            if train.loop not in parts.available("loops"):
                place = f"models.{name}.train.loop in {path.name}"
                problems.append(
                    unknown_name("loop", train.loop, parts.available("loops"), where=place)
                )
        wanted = config.decorrelation_of(name)
        if wanted.loss is not None:
            problems += parts.check(
                "losses",
                wanted.loss,
                wanted.options,
                where=f"decorrelation in {path.name}",
                reserved=LOSS_RESERVED,
            )
    return list(dict.fromkeys(problems))


def _check_names(config: AnalysisConfig, schema: Schema, path: Path) -> list[str]:
    """Check every field name that the configuration mentions against the schema."""
    fields = schema.flat_fields
    columns = {*fields, *config.constants}
    problems = [
        unknown_name("field of the schema", name, fields, where=f"{where} in {path.name}")
        for where, names in _mentioned_fields(config).items()
        for name in names
        if name not in (columns if _is_for_numbers(where) else fields)
        and not (name in (SYSTEMATIC, DOMAIN) and where.endswith("decorrelation.nuisances"))
    ]
    problems += _label_problems(config, schema, path)
    problems += _particle_problems(config, schema, path)
    problems += _split_problems(config, schema, path)
    problems += reconstruction_problems(config, schema, file=path.name)
    problems += truth_problems(config, schema, file=path.name)
    problems += systematics_problems(config, schema, file=path.name)
    problems += constant_problems(config, schema, file=path.name)
    problems += unlabelled_problems(config, schema, file=path.name)
    problems += decorrelation_problems(config, schema, file=path.name)
    problems += nuisance_problems(config, schema, file=path.name)
    reference = config.evaluate.reference
    if reference is not None and reference not in config.contenders:
        place = f"evaluate.reference in {path.name}"
        problems.append(unknown_name("model", reference, config.contenders, where=place))
    known = (*fields, *schema.collections)
    for key, text in (
        ("evaluate.window", config.evaluate.window),
        ("split.expression", config.split.expression),
        *((f"evaluate.against.{name}", text) for name, text in config.evaluate.against.items()),
    ):
        if text is None:
            continue
        place = f"{key} in {path.name}"
        try:
            names = schema.expression(text, where=place).names
        except HepdlError as error:
            problems.append(str(error))
            continue
        problems += [
            unknown_name("field of the schema", name, known, where=place)
            for name in sorted(
                set(names) - {*known, *(columns if key != "split.expression" else ())}
            )
        ]
    return list(dict.fromkeys(problems))


def _particle_problems(config: AnalysisConfig, schema: Schema, path: Path) -> list[str]:
    """Check what the options of models say about the particles of a collection."""
    problems = []
    for name, model in config.models.items():
        where = f"models.{name}.options in {path.name}"
        collection = str(model.options.get("collection", "constituents"))
        if collection not in schema.collections:
            if "collection" in model.options:
                known: Iterable[str] = schema.collections
                problems.append(unknown_name("collection", collection, known, where=where))
            continue
        known = {*PARTICLE_FEATURES, *schema.collections[collection].branches}
        features = model.options.get("particle_features") or ()
        problems += [
            unknown_name("particle feature", str(feature), known, where=where)
            for feature in (features if isinstance(features, list | tuple) else ())
            if feature not in known
        ]
    return problems


def _label_problems(config: AnalysisConfig, schema: Schema, path: Path) -> list[str]:
    """Every entry needs a class, and both classes must be there."""
    if schema.label is not None:
        return []
    problems = [
        f"processes.{name}.label in {path.name}: this key is required, since schema "
        f"{schema.name} has no branch with the role label (signal or background)"
        for name, process in config.processes.items()
        if process.label is None
    ]
    labels = {process.label for process in config.processes.values()} - {"unlabelled"}
    if not problems and labels != {"signal", "background"}:
        have = ", ".join(sorted(str(label) for label in labels))
        problems.append(
            f"processes in {path.name}: need a signal and a background process, all are {have}"
        )
    return problems


def _split_problems(config: AnalysisConfig, schema: Schema, path: Path) -> list[str]:
    """Folds need an event number, mean weights need features to depend on."""
    problems = []
    if config.split.folds is not None and schema.event_number is None:
        problems.append(
            f"split.folds in {path.name}: {config.split.folds} folds go by the event number, but "
            f"no branch of schema {schema.name} has the role event_number; give it to one"
        )
    training = config.weights.training
    if training.negative == "reweight" and not (training.reweight_features or schema.features):
        problems.append(
            f"weights.training.negative in {path.name}: reweight needs flat features, and schema "
            f"{schema.name} has none; name observers under weights.training.reweight_features"
        )
    return problems


def _is_for_numbers(where: str) -> bool:
    """Whether a key names what is measured or forgotten, not what a model reads."""
    return where.startswith("evaluate.") or where.endswith("decorrelation.nuisances")


def _mentioned_fields(config: AnalysisConfig) -> dict[str, tuple[str, ...]]:
    """Return the field names that stand under each key of the configuration."""
    wanted = config.evaluate.ams
    found = {
        "weights.training.flatten": config.weights.training.flatten,
        "weights.training.reweight_features": config.weights.training.reweight_features,
        "weights.evaluation.flatten": config.weights.evaluation.flatten,
        "evaluate.efficiency_variables": config.evaluate.efficiency_variables,
        "evaluate.nuisances": config.evaluate.nuisances,
        "evaluate.ams.nuisance": () if wanted is None else (wanted.nuisance,),
        "evaluate.dependence.ranges": tuple(config.evaluate.dependence.ranges),
        "decorrelation.nuisances": config.decorrelation.nuisances,
    }
    for name, model in config.models.items():
        features = model.options.get("features") or ()
        if isinstance(features, list | tuple):
            # Those of the best assignment are checked with the reconstruction.
            named = tuple(str(f) for f in features if not str(f).startswith(BEST_PREFIX))
            found[f"models.{name}.options.features"] = named
        if model.decorrelation is not None:
            found[f"models.{name}.decorrelation.nuisances"] = model.decorrelation.nuisances
        for head, auxiliary in model.auxiliary.items():
            if auxiliary.target != "label":
                found[f"models.{name}.auxiliary.{head}.target"] = (auxiliary.target,)
    return found
