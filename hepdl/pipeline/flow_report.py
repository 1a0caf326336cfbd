"""What the report shows of the looks into the networks of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from matplotlib.figure import Figure

from hepdl.pipeline.looks import TRAINED, UNTRAINED, Look, in_brief, looks_of
from hepdl.pipeline.work import Work
from hepdl.report.diagnostics import draw_flow, flow_table, verdict_table
from hepdl.report.html import Block, Details, Picture, Section, Text
from hepdl.report.layout import render_table

__all__ = ["DIAGNOSTICS", "diagnostics_section", "flow_figures"]

DIAGNOSTICS = "Diagnostics"

Draw = Callable[[], Figure]

EXPLANATION = (
    "One forward and backward pass of a minibatch, layer by layer; the last layer gives the logits. "
    "An activation is saturated where its slope is below 2 % of the steepest, a unit is dead where "
    "that holds for all events. The effective rank counts the directions that the values use."
)


def flow_figures(work: Work) -> Iterator[tuple[str, str, Draw]]:
    """Yield section of the page, name of the file and how to draw it, as `figures_of` does."""
    looks, order = _all_looks(work), tuple(work.analysis.config.models)
    for moment, note in ((UNTRAINED, "before training"), (TRAINED, "after training")):
        flows = {
            name: look.flow
            for name, found in looks.items()
            for look in found
            if look.moment == moment
        }
        if flows:
            yield DIAGNOSTICS, f"flow_{moment}", partial(draw_flow, flows, order=order, note=note)


def diagnostics_section(work: Work, pictures: list[Picture]) -> list[Section]:
    """Return the section on the networks, or nothing for a run of boosted trees alone."""
    looks = _all_looks(work)
    if not looks:
        return []
    verdicts = {name: in_brief(found) for name, found in looks.items()}
    blocks: list[Block] = [verdict_table(verdicts), *pictures, Text((EXPLANATION,))]
    for name, found in looks.items():
        tables = [
            render_table(flow_table(look.flow, caption=f"{name}, {look.moment}"), "text")
            for look in found
        ]
        blocks.append(Details(f"{name}, layer by layer", "\n\n".join(tables)))
    return [Section(DIAGNOSTICS, tuple(blocks))]


def _all_looks(work: Work) -> dict[str, tuple[Look, ...]]:
    found = {name: looks_of(work.folder.model(name)) for name in work.analysis.config.models}
    return {name: looks for name, looks in found.items() if looks}
