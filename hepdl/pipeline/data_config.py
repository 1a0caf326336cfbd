"""The parts of the configuration that say where events come from, and what they are worth."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

__all__ = ["GeneratorConfig", "ProcessConfig", "SimulateConfig", "SystematicsConfig"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class GeneratorConfig(BaseModel):
    """A generator of ``hepdl.simulate`` and its options; the options are checked by the generator."""

    model_config = ConfigDict(extra="allow", frozen=True)
    generator: str

    @property
    def options(self) -> dict[str, Any]:
        """Everything but the generator's name."""
        return dict(self.model_extra or {})


class ProcessConfig(_Strict):
    """The events of one process: files, or a generator.

    Without a ``label`` the schema's label branch says what each entry is. ``unlabelled`` events, e.g. data,
    take part in trainings with the nuisance ``domain`` alone.

    ``constants`` are columns with one value for all of its events, e.g. ``{pile_up: 1}`` for a sample that was
    made with pile-up: nuisances and numbers may use them, inputs never.

    The weight w of an event is worth ``w * cross_section [pb] * k_factor * filter_efficiency *
    luminosity / sum_of_weights`` events. ``sum_of_weights`` is that of all generated events, selected or not:
    a number, or a branch (or ``TTREE:BRANCH``) that is added up over all entries of all files.
    """

    label: Literal["signal", "background", "unlabelled"] | None = None
    files: tuple[str, ...] | None = None
    simulate: GeneratorConfig | None = None
    cross_section: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    k_factor: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    filter_efficiency: float = Field(default=1.0, gt=0, le=1)
    constants: dict[
        Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")],
        Annotated[float, Field(allow_inf_nan=False)],
    ] = {}
    # YAML reads 1e6 as text.
    sum_of_weights: Annotated[float | str | None, Field(union_mode="left_to_right")] = None

    @field_validator("files", mode="before")
    @classmethod
    def _one_file_is_a_list(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("sum_of_weights")
    @classmethod
    def _positive(cls, value: float | str | None) -> float | str | None:
        if isinstance(value, float) and not 0 < value < math.inf:
            message = (
                f"'sum_of_weights' is {value:g}, which must be above 0: give the sum of the weights of all "
                "generated events, or the branch that holds it"
            )
            raise ValueError(message)
        return value

    @model_validator(mode="after")
    def _one_source(self) -> ProcessConfig:
        if (self.files is None) == (self.simulate is None):
            message = "give exactly one of 'files' and 'simulate'"
            raise ValueError(message)
        return self


class SimulateConfig(_Strict):
    """What holds for every simulated process.

    ``n_events`` counts selected entries (jets or events) per process, whatever must be generated
    to get them; ``options`` are given to every generator, a process's own options win.
    ``variations`` are further ttrees of the same collisions, by the generator's names.
    """

    n_events: int = Field(default=10_000, gt=0)
    seed: int = Field(default=1, ge=0)
    n_processes: int | None = Field(default=None, gt=0)
    options: dict[str, Any] = {}
    variations: tuple[str, ...] = ()


class SystematicsConfig(_Strict):
    """Further ttrees of the same files, which hold the same events varied.

    Every model is trained on the nominal events and applied to each variation. With the nuisance
    ``systematic`` in a decorrelation its training part holds the varied events, too: ``nuisance`` is the
    value of the nuisance for the events of each ttree, that of the nominal ones is 0.
    """

    ttrees: tuple[Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")], ...] = ()
    nuisance: dict[str, Annotated[float, Field(allow_inf_nan=False)]] = {}

    @field_validator("ttrees", mode="before")
    @classmethod
    def _one_ttree_is_a_list(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("ttrees")
    @classmethod
    def _distinct(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value):
            message = f"'ttrees' names one twice: {list(value)}"
            raise ValueError(message)
        return value
