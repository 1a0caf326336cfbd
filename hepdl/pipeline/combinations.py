"""Combinations of models in the configuration: whether their members are there."""

from __future__ import annotations

from hepdl.errors import unknown_name
from hepdl.pipeline.config import AnalysisConfig

__all__ = ["combination_problems", "in_words"]


def combination_problems(config: AnalysisConfig, *, file: str) -> list[str]:
    """Return what is wrong with the section; an empty list if nothing is.

    Args:
        config: The analysis, with all models that it will train.
        file: Its name, for messages.
    """
    problems = []
    for name, combination in config.combinations.items():
        if name in config.models:
            problems.append(
                f"combinations.{name} in {file}: a model is called {name}, too, and both would be "
                f"score_{name}; give the combination another name"
            )
        where = f"combinations.{name}.of in {file}"
        for member in combination.of:
            if member in config.models:
                continue
            if member in config.combinations:
                inner = ", ".join(config.combinations[member].of)
                problems.append(
                    f"{where}: {member} is a combination itself; name its members ({inner}) instead"
                )
            else:
                problems.append(unknown_name("model", member, config.models, where=where))
    return problems


def in_words(config: AnalysisConfig) -> list[str]:
    """Return one line for each combination: its name, how it is made, and from what."""
    return [
        f"{name}: {combination.method} of {', '.join(combination.of)}"
        for name, combination in config.combinations.items()
    ]
