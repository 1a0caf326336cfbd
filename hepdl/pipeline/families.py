"""Models that differ in the strength of one decorrelation alone: the points of a scan."""

from __future__ import annotations

from collections.abc import Iterable

from hepdl.pipeline.config import AnalysisConfig
from hepdl.pipeline.decorrelation_config import in_a_name

__all__ = ["families", "shown_models", "strength_of"]

# More panels do not fit on a page.
MOST_PANELS = 12


def families(config: AnalysisConfig) -> dict[str, list[str]]:
    """Return the contenders by family, those of a scan in the order of their strength."""
    found: dict[str, list[str]] = {}
    for name in config.contenders:
        found.setdefault(_family(config, name), []).append(name)
    for members in found.values():
        members.sort(key=lambda name: strength_of(config, name) or 0.0)
    return found


def strength_of(config: AnalysisConfig, name: str) -> float | None:
    """Return the strength of a model's penalty; None if it has none, or holds a target."""
    if name not in config.models:
        return None
    wanted = config.decorrelation_of(name)
    return None if wanted.loss is None or wanted.target is not None else wanted.strength


def _family(config: AnalysisConfig, name: str) -> str:
    strength = strength_of(config, name)
    suffix = "" if strength is None else f"_{in_a_name(strength)}"
    return name.removesuffix(suffix) if suffix else name


def shown_models(config: AnalysisConfig, names: Iterable[str]) -> list[str]:
    """Return the models that figures with one panel a model show: of each scan the ends and the middle.

    Args:
        config: The resolved configuration.
        names: All of them, in their order.
    """
    everything = list(names)
    if len(everything) <= MOST_PANELS:
        return everything
    for n_kept in (3, 2, 1):
        kept: set[str] = set()
        for members in families(config).values():
            inside = [name for name in members if name in everything]
            # The strongest is the last one.
            places = {round(k * (len(inside) - 1) / max(n_kept - 1, 1)) for k in range(n_kept)}
            kept |= {inside[-1 - place] for place in places} if inside else set()
        if len(kept) <= MOST_PANELS:
            break
    return [name for name in everything if name in kept][:MOST_PANELS]
