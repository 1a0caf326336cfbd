"""What the configuration asks of decorrelations, checked before anything runs."""

from __future__ import annotations

from hepdl.errors import HepdlError
from hepdl.losses import Penalty
from hepdl.models.boosting.penalised import refuse_adversary
from hepdl.pipeline import parts
from hepdl.pipeline.config import AnalysisConfig
from hepdl.pipeline.decorrelation_config import DecorrelationConfig
from hepdl.schema import Schema
from hepdl.train.state.decorrelator import Decorrelation

__all__ = ["build_decorrelation", "decorrelation_problems"]


def build_decorrelation(wanted: DecorrelationConfig) -> Decorrelation | None:
    """Return the penalty of a model with its target and layer; None without a loss."""
    if wanted.loss is None:
        return None
    options = {"strength": wanted.strength, "nuisances": wanted.nuisances, **wanted.options}
    penalty: Penalty = parts.build("losses", wanted.loss, options, where="decorrelation")
    return Decorrelation(penalty, target=wanted.target, layer=wanted.layer)


def decorrelation_problems(config: AnalysisConfig, schema: Schema, *, file: str) -> list[str]:
    """Return what is wrong with the decorrelations of the models; an empty list if nothing is.

    Args:
        config: The resolved configuration.
        schema: What the files hold.
        file: Name of the analysis, for messages.
    """
    problems = []
    if config.evaluate.ams is not None and config.split.folds is not None:
        problems.append(
            f"evaluate.ams in {file}: the cut is chosen on the validation part, and with split.folds every "
            "entry is tested; use fractions"
        )
    for name, model in config.models.items():
        wanted = config.decorrelation_of(name)
        where = f"models.{name}.decorrelation in {file}"
        if wanted.planing > 0:
            problems += [
                f"{where}: planing makes spectra of flat fields alike, and {nuisance} is none; use a loss"
                for nuisance in wanted.nuisances
                if nuisance not in schema.flat_fields
            ]
        if wanted.loss is None:
            continue
        try:
            built = build_decorrelation(wanted)
            if built is not None and model.model == "boosted_trees":
                refuse_adversary(built.penalty)
        except HepdlError as error:
            problems.append(f"{where}: {error}")
            continue
        if model.model == "boosted_trees":
            problems += [
                f"{where}: {key} is for networks; boosted trees take a strength, or a scan of them"
                for key in ("target", "layer")
                if getattr(wanted, key) is not None
            ]
    return problems
