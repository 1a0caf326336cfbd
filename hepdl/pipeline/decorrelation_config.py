"""The parts of the configuration that make scores independent of nuisances."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

__all__ = [
    "AmsConfig",
    "DecorrelationConfig",
    "DependenceConfig",
    "PosthocConfig",
    "PosthocMethod",
    "in_a_name",
]

PosthocMethod = Literal["conditional_cdf"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class DecorrelationConfig(_Strict):
    """How a training is kept from learning one or more nuisances; empty means not at all.

    ``loss`` is a penalty of ``hepdl.losses`` and ``strength`` its factor. ``scan`` makes one model
    of each strength, ``<name>_0p3`` for 0.3. With a ``target`` the strength is only where it
    begins: it is moved so that the squared distance correlation of score and nuisance in the
    training part stays at the target. ``layer`` names a layer of the network that the penalty reads
    in the place of the logits. ``planing`` takes the nuisance out of the training weights:
    1 makes its spectrum the same for both classes, 0 leaves it.

    ``models`` limits it to some models. With ``reference`` each decorrelated model is also
    trained without it, as ``<name>_plain``, so that the report can show both.
    """

    loss: str | None = None
    nuisances: tuple[str, ...] = ()
    strength: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    scan: tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...] = ()
    target: float | None = Field(default=None, gt=0, lt=1)
    layer: str | None = None
    planing: float = Field(default=0.0, ge=0, le=1)
    options: dict[str, Any] = {}
    models: tuple[str, ...] | None = None
    reference: bool = True

    @model_validator(mode="after")
    def _complete(self) -> DecorrelationConfig:
        if self.is_on and not self.nuisances:
            message = "'nuisances' is missing: name the schema fields the score must not know"
            raise ValueError(message)
        if not self.is_on and self.nuisances:
            message = (
                f"'loss' is missing for the nuisances {', '.join(self.nuisances)}: name a loss, "
                "e.g. gradient_reversal, or set planing"
            )
            raise ValueError(message)
        if self.loss is None:
            wanted = {"scan": self.scan, "target": self.target, "layer": self.layer}
            for key, value in wanted.items():
                if value:
                    message = f"'{key}' is for a loss, and there is none: name one"
                    raise ValueError(message)
        if self.scan and self.target is not None:
            message = "'scan' and 'target' both choose the strength: give one of them"
            raise ValueError(message)
        if self.layer is not None and self.target is not None:
            message = f"'target' is held for the score, and the penalty reads layer {self.layer}: "
            message += "give one of the two"
            raise ValueError(message)
        if len(set(self.scan)) < len(self.scan):
            message = f"'scan' names a strength twice: {list(self.scan)}"
            raise ValueError(message)
        return self

    @property
    def is_on(self) -> bool:
        """Whether there is anything against a nuisance."""
        return self.loss is not None or self.planing > 0

    def points(self, name: str) -> dict[str, DecorrelationConfig]:
        """Return the settings of each model that ``name`` stands for: one, or those of the scan."""
        if not self.scan:
            return {name: self}
        return {
            f"{name}_{in_a_name(value)}": self.model_copy(update={"strength": value, "scan": ()})
            for value in self.scan
        }


def in_a_name(strength: float) -> str:
    """Return a number as a part of a name.

    >>> in_a_name(0.3), in_a_name(10.0), in_a_name(1e-05)
    ('0p3', '10', '1em05')
    """
    return f"{strength:g}".replace(".", "p").replace("-", "m").replace("+", "")


class PosthocConfig(_Strict):
    """A map of ``hepdl.posthoc`` that takes nuisances out of the finished scores of one model.

    It is one more contender, fitted on the validation part (of each fold). The nuisances must be
    known wherever it is applied.
    """

    kind: ClassVar[str] = "posthoc"
    of: str
    method: PosthocMethod = "conditional_cdf"
    nuisances: tuple[str, ...] = Field(min_length=1)
    options: dict[str, Any] = {}

    @property
    def members(self) -> tuple[str, ...]:
        """The model whose scores it takes."""
        return (self.of,)


class DependenceConfig(_Strict):
    """How the dependence of finished scores on nuisances is measured.

    ``events``: whose. ``ranges``: of the bins of the divergence, by nuisance; what is not named is
    compared where 99 % of the background is. The ATLAS comparison of jet masses has 50 bins in
    50 to 300 GeV.
    """

    events: Literal["background", "signal", "all"] = "background"
    ranges: dict[str, tuple[float, float]] = {}
    n_bins: int = Field(default=50, ge=2)

    @field_validator("ranges")
    @classmethod
    def _rising(cls, value: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
        for name, (low, high) in value.items():
            if not low < high:
                message = f"'ranges.{name}' is [{low:g}, {high:g}]: it must rise"
                raise ValueError(message)
        return value


class AmsConfig(_Strict):
    """A significance with a background that moves with a nuisance of two values.

    ``signal`` and ``background`` are expected before any cut on the score; the background behind a cut is the
    mean over the two values, and its uncertainty their distance.
    """

    nuisance: str
    signal: float = Field(default=100.0, gt=0, allow_inf_nan=False)
    background: float = Field(default=1000.0, gt=0, allow_inf_nan=False)
