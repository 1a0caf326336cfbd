"""Auxiliary heads of an analysis: what the configuration says, against the models that it builds."""

from __future__ import annotations

import torch
from torch import nn

from hepdl.errors import HepdlError
from hepdl.pipeline import parts
from hepdl.pipeline.config import AnalysisConfig, ModelConfig
from hepdl.train.state.auxiliary import AuxiliaryHeads
from hepdl.train.state.heads import AuxiliaryHead, find_layers

__all__ = ["auxiliary_problems", "build_auxiliary"]


def build_auxiliary(description: ModelConfig, *, seed: int) -> AuxiliaryHeads | None:
    """Return the heads of a model, or None if it has none.

    Args:
        description: The model in the configuration.
        seed: Of the heads' first parameters.
    """
    heads = _heads(description)
    return AuxiliaryHeads(heads, seed=seed) if heads else None


def _heads(description: ModelConfig) -> tuple[AuxiliaryHead, ...]:
    options = {name: head.model_dump() for name, head in description.auxiliary.items()}
    return AuxiliaryHead.from_mapping(options)


def auxiliary_problems(config: AnalysisConfig, *, file: str) -> list[str]:
    """Return what is wrong with the layers of all heads; an empty list if nothing is.

    Every model that has heads is built once for it.

    Args:
        config: The analysis.
        file: Its name, for messages.
    """
    problems = []
    for name, description in config.models.items():
        options = f"models.{name}.options in {file}"
        if not description.auxiliary or parts.check(
            "models", description.model, description.options, where=options
        ):
            continue  # a wrong option is named elsewhere
        try:
            # The constructor of a network draws numbers.
            with torch.random.fork_rng(devices=[]):
                model = parts.build("models", description.model, description.options, where=options)
            if isinstance(model, nn.Module):
                where = f"models.{name}.auxiliary.{{}}.layer in {file}"
                find_layers(model, _heads(description), where=where)
            else:
                problems.append(
                    f"models.{name}.auxiliary in {file}: {description.model} has no layers that "
                    f"{', '.join(description.auxiliary)} could read; give heads to networks only"
                )
        except HepdlError as error:
            problems.append(str(error))
    return problems
