"""Truth is for targets and numbers: no input of a model, nor a weight or part, may know it."""

from __future__ import annotations

from hepdl.errors import HepdlError
from hepdl.pipeline.config import AnalysisConfig
from hepdl.schema import Schema

__all__ = ["truth_problems"]


def truth_problems(config: AnalysisConfig, schema: Schema, *, file: str) -> list[str]:
    """Return where the configuration takes truth as an input.

    Numbers and pictures may use it (``evaluate``), and so may what is learnt but not read: targets
    of auxiliary heads, nuisances of a penalty, ``reconstruction.truth``.

    Args:
        config: The analysis.
        schema: What the files hold.
        file: Name of the configuration, for messages.
    """
    truth = set(schema.truth)
    return [
        f"{where} in {file}: {name} is truth (role of schema {schema.name}), which data do not have; "
        "it may be a target, a nuisance or part of a selection for numbers, never an input"
        for where, names in _inputs(config, schema).items()
        for name in names
        if name in truth
    ]


def _inputs(config: AnalysisConfig, schema: Schema) -> dict[str, tuple[str, ...]]:
    """Return the fields that each key of the configuration takes as an input."""
    training = config.weights.training
    found: dict[str, tuple[str, ...]] = {
        "weights.training.flatten": training.flatten,
        "weights.training.reweight_features": training.reweight_features,
    }
    for name, model in config.models.items():
        where = f"models.{name}.options"
        found[f"{where}.features"] = _names(model.options.get("features"))
        collection = model.options.get("collection", "constituents")
        found[f"{where}.particle_features"] = tuple(
            f"{collection}.{field}" for field in _names(model.options.get("particle_features"))
        )
    if config.split.expression is not None:
        try:
            expression = schema.expression(config.split.expression, where="split.expression")
        except HepdlError:
            pass  # named elsewhere
        else:
            found["split.expression"] = tuple(sorted(expression.fields))
    wanted = config.reconstruction
    for name, source in ({} if wanted is None else wanted.objects or {}).items():
        if isinstance(source, dict):
            tag = f"{source.get('collection')}.{source.get('b_tag')}"
            fields = (*_names(source.get("four_vector")), *_names(source.get("met")))
            found[f"reconstruction.objects.{name}"] = (tag, *fields)
    return found


def _names(value: object) -> tuple[str, ...]:
    return tuple(str(name) for name in value) if isinstance(value, list | tuple) else ()
