"""The analysis configuration: one YAML file, strict and frozen.

The file that is written is the configuration that runs: ``--set KEY=VALUE`` is the only override,
and the resolved configuration stands beside every result.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from hepdl.pipeline.data_config import ProcessConfig, SimulateConfig, SystematicsConfig
from hepdl.pipeline.decorrelation_config import (
    AmsConfig,
    DecorrelationConfig,
    DependenceConfig,
    PosthocConfig,
    PosthocMethod,
)

__all__ = [
    "AnalysisConfig",
    "AuxiliaryConfig",
    "CalibrationConfig",
    "CalibrationMethod",
    "CombinationConfig",
    "CombinationMethod",
    "DecorrelationConfig",
    "DependenceConfig",
    "EvaluateConfig",
    "MapConfig",
    "ModelConfig",
    "PosthocConfig",
    "PosthocMethod",
    "ProcessConfig",
    "ReconstructionConfig",
    "SimulateConfig",
    "SplitConfig",
    "SystematicsConfig",
    "TrainConfig",
    "WeightsConfig",
]

NegativePolicy = Literal["keep", "absolute", "drop", "reweight"]
CalibrationMethod = Literal["temperature", "isotonic"]
CombinationMethod = Literal["stack", "rank_average"]
Fraction = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class SplitConfig(_Strict):
    """Which events train, which choose, which are opened once at the end.

    Either a hash of ``key`` into ``fractions``, or an ``expression`` whose values are listed in
    ``parts``, or ``folds``: fold ``event_number % folds`` is tested by a model that was trained on
    the other folds. Without values for validation, ``validation_fraction`` of the training events
    are hashed into it.
    """

    key: tuple[Literal["process", "run_number", "event_number"], ...] = (
        "process",
        "run_number",
        "event_number",
    )
    fractions: dict[Literal["train", "validation", "test"], Fraction] = {
        "train": 0.5,
        "validation": 0.1,
        "test": 0.4,
    }
    expression: str | None = None
    parts: dict[Literal["train", "validation", "test"], tuple[int, ...]] | None = None
    validation_fraction: Fraction = 0.1
    folds: int | None = Field(default=None, ge=2)

    @model_validator(mode="after")
    def _complete(self) -> SplitConfig:
        if "event_number" not in self.key:
            message = f"'key' must contain event_number, has {list(self.key)}"
            raise ValueError(message)
        missing = [part for part in ("train", "validation", "test") if part not in self.fractions]
        total = sum(self.fractions.values())
        if missing or abs(total - 1) > 1e-9:
            message = f"'fractions' need train, validation and test and sum to 1, not {total:g}"
            raise ValueError(message)
        if (self.expression is None) != (self.parts is None):
            message = "'expression' and 'parts' belong together: give both or none"
            raise ValueError(message)
        if self.parts is not None and not {"train", "test"} <= set(self.parts):
            message = f"'parts' need values for train and test, has {sorted(self.parts)}"
            raise ValueError(message)
        if self.folds is not None:
            self._check_folds(self.folds)
        return self

    def _check_folds(self, folds: int) -> None:
        if self.expression is not None:
            message = f"'folds' and 'expression' are two ways to split: {folds} folds are made by "
            message += "event_number % folds; give one of them"
            raise ValueError(message)
        if not 0 < self.validation_fraction < 1:
            message = "'folds' need a 'validation_fraction' above 0 and below 1, has "
            message += f"{self.validation_fraction:g}: it chooses the epoch of each fold's model"
            raise ValueError(message)

    @property
    def fold_numbers(self) -> tuple[int | None, ...]:
        """The folds to be fitted; ``(None,)`` without folds."""
        return (None,) if self.folds is None else tuple(range(self.folds))


class TrainingWeights(_Strict):
    """The weight that the loss uses.

    ``negative: reweight`` replaces each weight by its mean E[w|x] over events with like features:
    ``reweight_features``, or all features of the schema.
    """

    flatten: tuple[str, ...] = ()
    balance: bool = True
    negative: NegativePolicy = "keep"
    reweight_features: tuple[str, ...] = ()


class CalibrationConfig(_Strict):
    """A map of ``hepdl.posthoc`` from scores to probabilities, fitted on the validation part."""

    method: Literal["none", CalibrationMethod] = "none"


class EvaluationWeights(_Strict):
    """The weight that every number and picture of the comparison uses."""

    flatten: tuple[str, ...] = ()


class WeightsConfig(_Strict):
    """Training and evaluation weights are two things."""

    training: TrainingWeights = TrainingWeights()
    evaluation: EvaluationWeights = EvaluationWeights()


class TrainConfig(_Strict):
    """The loop and its settings; each model may override any of them."""

    loop: str = "supervised"
    seeds: tuple[int, ...] = (0,)
    epochs: int = Field(default=25, gt=0)
    minibatch_size: int = Field(default=128, gt=0)
    learning_rate: float = Field(default=1e-3, gt=0)
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    weight_decay: float = Field(default=0.0, ge=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = False
    schedule: Literal["constant", "exponential", "cosine", "one_cycle", "plateau"] = "exponential"
    decay: float = Field(default=0.9, gt=0, le=1)
    warm_up: float = Field(default=0.0, ge=0)
    patience: int | None = Field(default=None, gt=0)
    clip_norm: float | None = Field(default=None, gt=0)
    ema: float | None = Field(default=None, gt=0, lt=1)
    accumulate: int = Field(default=1, gt=0)
    autocast: Literal["none", "bfloat16", "float16"] = "none"
    compile: bool = False
    sync_every: int = Field(default=50, gt=0)
    stream: int | None = Field(default=None, gt=0)
    diagnose_every: int = Field(default=0, ge=0)
    deterministic: bool = False
    n_threads: int | None = Field(default=None, gt=0)

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value or len(set(value)) != len(value) or min(value) < 0:
            message = f"'seeds' must be one or more different whole numbers >= 0, got {list(value)}"
            raise ValueError(message)
        return value


class AuxiliaryConfig(_Strict):
    """A further head on an intermediate layer of a network, while training only.

    ``target`` is ``label`` or a flat field of the schema. The squared error centres and scales its
    field on the training part, the cross-entropy takes it as a probability. ``loss: assignment`` takes
    the layer's output as logits of the assignments, and their truth as target.
    """

    layer: str
    loss: Literal["binary_cross_entropy", "mean_squared_error", "assignment"] = (
        "binary_cross_entropy"
    )
    target: str = "label"
    weight: float = Field(default=0.3, ge=0, allow_inf_nan=False)
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    detach: bool = False


class ModelConfig(_Strict):
    """One contender; its key under ``models:`` is its name everywhere."""

    model: str
    options: dict[str, Any] = {}
    train: dict[str, Any] = {}
    decorrelation: DecorrelationConfig | None = None
    auxiliary: dict[Name, AuxiliaryConfig] = {}
    calibration: CalibrationConfig | None = None


class CombinationConfig(_Strict):
    """Several models as one more contender: a map of ``hepdl.posthoc`` from their scores to one.

    The map is fitted on the validation part (of each fold), with the chosen seed of each member.
    """

    kind: ClassVar[str] = "combination"
    of: tuple[str, ...]
    method: CombinationMethod = "stack"

    @field_validator("of")
    @classmethod
    def _several(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(value) < 2 or len(set(value)) != len(value):
            message = f"'of' must name two or more different models, got {list(value)}"
            raise ValueError(message)
        return value

    @property
    def members(self) -> tuple[str, ...]:
        """The models whose scores it takes."""
        return self.of

    @property
    def nuisances(self) -> tuple[str, ...]:
        """It takes none."""
        return ()


MapConfig = CombinationConfig | PosthocConfig


class ReconstructionConfig(_Strict):
    """How objects are assigned to the leaves of a decay; what is not given is that of ttH(bb).

    ``decay``, ``objects``, ``candidates`` and ``truth`` are explained in
    ``hepdl.events.reconstruction``; ``features`` is what trees look at, ``options`` how they grow.
    """

    ranking: Literal["chi_square", "boosted_trees"] = "boosted_trees"
    decay: dict[str, Any] | None = None
    objects: dict[str, Any] | None = None
    candidates: dict[str, Any] | None = None
    truth: dict[str, Any] | None = None
    features: tuple[str, ...] = ()
    options: dict[str, Any] = {}
    seed: int = Field(default=0, ge=0)

    @property
    def recipe(self) -> dict[str, Any]:
        """What says which object may be which leaf."""
        return self.model_dump(include={"decay", "objects", "candidates", "truth"})


class EvaluateConfig(_Strict):
    """The numbers of the comparison.

    ``against`` names parts of the background by an expression over flat fields; the numbers against
    each of them keep all of the signal. With a ``luminosity`` [1/fb] there are yields and significances;
    ``background_uncertainty`` is relative.
    """

    signal_efficiencies: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.3, 0.5, 0.8)
    window: str | None = None
    bootstrap_replicas: int = Field(default=200, ge=20)
    efficiency_variables: tuple[str, ...] = ()
    nuisances: tuple[str, ...] = ()
    dependence: DependenceConfig = DependenceConfig()
    ams: AmsConfig | None = None
    against: dict[Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")], str] = {}
    reference: str | None = None
    luminosity: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    background_uncertainty: float = Field(default=0.0, ge=0, allow_inf_nan=False)

    @field_validator("signal_efficiencies")
    @classmethod
    def _some(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not value:
            message = "'signal_efficiencies' is empty: give at least one, e.g. 0.5"
            raise ValueError(message)
        return value


class ReportConfig(_Strict):
    """What the report shows beyond the numbers."""

    title: str | None = None
    example_trees: int = Field(default=1, ge=0, le=8)


class AnalysisConfig(_Strict):
    """A whole analysis."""

    analysis: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    description: str = ""
    schema_: Path = Field(alias="schema")
    simulate: SimulateConfig = SimulateConfig()
    processes: dict[str, ProcessConfig] = Field(min_length=1)
    systematics: SystematicsConfig = SystematicsConfig()
    split: SplitConfig = SplitConfig()
    weights: WeightsConfig = WeightsConfig()
    models: dict[Name, ModelConfig] = Field(min_length=1)
    combinations: dict[Name, CombinationConfig] = {}
    posthoc: dict[Name, PosthocConfig] = {}
    train: TrainConfig = TrainConfig()
    reconstruction: ReconstructionConfig | None = None
    decorrelation: DecorrelationConfig = DecorrelationConfig()
    calibration: CalibrationConfig = CalibrationConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    report: ReportConfig = ReportConfig()

    @property
    def unlabelled(self) -> tuple[str, ...]:
        """The processes whose events have no label."""
        return tuple(n for n, process in self.processes.items() if process.label == "unlabelled")

    @property
    def constants(self) -> tuple[str, ...]:
        """The columns that processes give to all of their events."""
        return tuple(dict.fromkeys(n for p in self.processes.values() for n in p.constants))

    @property
    def contenders(self) -> tuple[str, ...]:
        """Everything that is compared: the models, then the maps of their scores."""
        return (*self.models, *self.maps)

    @property
    def maps(self) -> dict[str, MapConfig]:
        """The maps of finished scores: combinations of several models, then those of one."""
        return {**self.combinations, **self.posthoc}

    def train_of(self, name: str) -> TrainConfig:
        """Return the training settings of one model: its own over the global ones."""
        merged = self.train.model_dump() | self.models[name].train
        return TrainConfig.model_validate(merged)

    def decorrelation_of(self, name: str) -> DecorrelationConfig:
        """Return the penalty that holds for one model."""
        own = self.models[name].decorrelation
        return self.decorrelation if own is None else own

    def calibration_of(self, name: str) -> CalibrationConfig:
        """Return the calibration of one model: its own or the global one."""
        own = self.models[name].calibration
        return self.calibration if own is None else own

    def as_dict(self) -> dict[str, Any]:
        """Return plain YAML/JSON values, with the keys of the file."""
        return self.model_dump(mode="json", by_alias=True)
