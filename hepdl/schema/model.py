"""What a file holds, as frozen pydantic models: branches, roles, units, types, depth."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from hepdl.errors import SchemaError
from hepdl.schema.checks import cross_problems
from hepdl.schema.computed import FUNCTIONS
from hepdl.schema.defaults import with_defaults
from hepdl.schema.expressions import Expression
from hepdl.schema.units import Unit, house_unit
from hepdl.schema.wording import Problems

__all__ = [
    "Branch",
    "Collection",
    "CollectionBranch",
    "Computed",
    "Derived",
    "Schema",
    "StoredField",
]

Role = Literal[
    "feature",
    "label",
    "event_weight",
    "event_number",
    "run_number",
    "nuisance",
    "observer",
    "truth",
]
DerivedRole = Literal["feature", "nuisance", "observer", "event_weight", "truth"]
DType = Literal[
    "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "bool"
]
COMPUTED_ROLES = ("feature", "observer")
FourVector = Literal["pt", "eta", "phi", "mass", "energy", "px", "py", "pz"]


def _tuple(value: Any) -> Any:
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


def _unit(value: Any) -> Any:
    # `unit: 1` is an integer in YAML.
    return "1" if type(value) is int and value == 1 else value


UnitField = Annotated[Unit, BeforeValidator(_unit)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class Branch(_Strict):
    """A branch with one value per entry.

    Attributes:
        branch: Its name in the file; default: the key.
        unit: The unit in the file; memory holds GeV, rad, mm, ns, pb.
        role: What it is for; several roles may be given as a list.
        type: The type in memory; default int64 for numbers and labels, else float32.
        classes: For a label: class name → value in the file.
        description: For people; not part of the fingerprint.
    """

    branch: str = Field(min_length=1)
    unit: UnitField = "1"
    role: Annotated[tuple[Role, ...], BeforeValidator(_tuple), Field(min_length=1)] = ("feature",)
    type: DType = "float32"
    classes: dict[Literal["signal", "background"], int] | None = None
    description: str = ""


class CollectionBranch(_Strict):
    """A branch with a varying number of values per entry; keys as in ``Branch``.

    ``role: truth`` marks what data do not have: it never becomes an input.
    """

    branch: str = Field(min_length=1)
    unit: UnitField = "1"
    type: DType = "float32"
    role: Literal["truth"] | None = None
    description: str = ""


class Collection(_Strict):
    """Branches that run over the same objects, e.g. the constituents of a jet.

    Attributes:
        branches: Field name → branch.
        four_vector: The fields that make the four-vector: ``[pt, eta, phi, energy]``,
            ``[pt, eta, phi, mass]`` or ``[px, py, pz, energy]``.
        description: For people; not part of the fingerprint.
    """

    branches: Annotated[dict[str, CollectionBranch], Field(min_length=1)]
    four_vector: Annotated[tuple[FourVector, ...], BeforeValidator(_tuple)] | None = None
    description: str = ""


class Derived(_Strict):
    """A value per entry that is computed from other fields, in house units.

    Attributes:
        expression: An expression of ``hepdl.schema.expressions``.
        role: As for a branch.
        unit: The unit of the result, for axis labels; nothing is converted.
        type: The type in memory.
        description: For people; not part of the fingerprint.
    """

    expression: str
    role: Annotated[tuple[DerivedRole, ...], BeforeValidator(_tuple), Field(min_length=1)] = (
        "feature",
    )
    unit: UnitField = "1"
    type: DType = "float32"
    description: str = ""


class Computed(_Strict):
    """Fields that a function computes from the selected entries; see ``hepdl.schema.computed``.

    Attributes:
        function: Name of the function.
        jets: A collection with a four-vector, by falling pT.
        b_tag: Its field with the tag bin.
        lepton: Flat fields pt, eta, phi, energy of the lepton.
    """

    function: Literal["tth_features"]
    jets: str
    b_tag: str
    lepton: Annotated[tuple[str, str, str, str], BeforeValidator(_tuple)]

    @property
    def names(self) -> tuple[str, ...]:
        """The fields that the function gives."""
        return FUNCTIONS[self.function].names()


@dataclass(frozen=True)
class StoredField:
    """One field that is read from the file.

    Attributes:
        name: ``field`` or ``collection.field``.
        branch: Its name in the file.
        unit: The unit in the file.
        type: The type in memory.
        collection: The collection that it belongs to, or None.
        key: The key path in the schema's YAML.
    """

    name: str
    branch: str
    unit: str
    type: str
    collection: str | None
    key: str


class Schema(_Strict):
    """What the files of one kind hold.

    Attributes:
        format_version: Version of this layout.
        name: Name of the schema.
        ttree: Name of the TTree or RNTuple.
        branches: Flat fields by name.
        collections: Jagged collections by name.
        derived: Computed fields by name; one may use those above it.
        selection: Cut name → expression, applied in this order.
        computed: Groups of fields that a function computes from the selected entries.
        description: For people; not part of the fingerprint.
    """

    format_version: Literal[1]
    name: str = Field(min_length=1)
    ttree: str = Field(min_length=1)
    branches: dict[str, Branch] = {}
    collections: dict[str, Collection] = {}
    derived: dict[str, Derived] = {}
    selection: dict[str, str] = {}
    computed: dict[str, Computed] = {}
    description: str = ""

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, content: Any) -> Any:
        return with_defaults(content) if isinstance(content, Mapping) else content

    @model_validator(mode="after")
    def _cross_check(self) -> Schema:
        problems = cross_problems(self.model_dump())
        if problems:
            raise Problems(problems)
        return self

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Schema:
        """Return the schema that ``as_dict`` wrote."""
        return cls.model_validate(dict(content))

    def as_dict(self) -> dict[str, Any]:
        """Return the schema as plain data, every default written out.

        What a schema does not have of ``computed`` and truth in collections is left out, as it was
        before there was either: fingerprints stay.
        """
        content = self.model_dump(mode="json")
        if not self.computed:
            del content["computed"]
        for collection in content["collections"].values():
            for branch in collection["branches"].values():
                if branch["role"] is None:
                    del branch["role"]
        return content

    def fingerprint(self) -> str:
        """Return the SHA-256 of the content; file names, layout and descriptions do not count."""
        text = json.dumps(_undescribed(self.as_dict()), separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def expression(self, text: str, *, where: str = "expression") -> Expression:
        """Return an expression over the fields of this schema.

        Raises:
            SchemaError: The text is not an expression.
        """
        return Expression(text, where=where)

    @property
    def fields(self) -> tuple[StoredField, ...]:
        """Every field that is read from the file: flat ones first, then the collections'."""
        flat = [
            StoredField(name, b.branch, b.unit, b.type, None, f"branches.{name}")
            for name, b in self.branches.items()
        ]
        jagged = [
            StoredField(
                f"{group}.{name}", b.branch, b.unit, b.type, group,
                f"collections.{group}.branches.{name}",
            )
            for group, collection in self.collections.items()
            for name, b in collection.branches.items()
        ]  # fmt: skip
        return tuple(flat + jagged)

    @property
    def flat_fields(self) -> tuple[str, ...]:
        """Names of all fields with one value per entry, derived and computed ones last."""
        return (*self.branches, *self.derived, *self.computed_fields)

    @property
    def computed_fields(self) -> dict[str, str]:
        """Fields that are computed, and their units; those that are read or derived are not."""
        return {
            name: FUNCTIONS[group.function].units().get(name, "1")
            for group in self.computed.values()
            for name in group.names
            if name not in self.branches and name not in self.derived
        }

    @property
    def truth(self) -> tuple[str, ...]:
        """What must not become an input: flat fields, and ``collection.field``."""
        inner = tuple(
            f"{group}.{name}"
            for group, collection in self.collections.items()
            for name, branch in collection.branches.items()
            if branch.role == "truth"
        )
        return self.with_role("truth") + inner

    def without_truth(self, *, selects: bool = True) -> Schema:
        """Return the schema of data, which have no truth.

        Args:
            selects: Whether the selection stays; entries in memory are selected already.

        Raises:
            SchemaError: A cut of the selection uses truth, so it cannot be applied to data.
        """
        hidden = set(self.truth)
        for cut, text in self.selection.items() if selects else ():
            used = sorted(self.expression(text).fields & hidden)
            if used:
                message = (
                    f"selection.{cut} of schema {self.name}: {text!r} uses {', '.join(used)}, which "
                    "is truth and not there in data; select such events when training samples are "
                    "made, or give the schema of data a selection of its own"
                )
                raise SchemaError(message)
        content = self.as_dict() | ({} if selects else {"selection": {}})
        for part in ("branches", "derived"):
            content[part] = {k: v for k, v in content[part].items() if k not in hidden}
        for group, collection in content["collections"].items():
            collection["branches"] = {
                k: v for k, v in collection["branches"].items() if f"{group}.{k}" not in hidden
            }
        return Schema.from_dict(content)

    def with_role(self, role: str) -> tuple[str, ...]:
        """Return the names of the flat fields that have a role, in the order of the schema."""
        flat: dict[str, Branch | Derived] = {**self.branches, **self.derived}
        found = tuple(name for name, field in flat.items() if role in field.role)
        return found + (tuple(self.computed_fields) if role in COMPUTED_ROLES else ())

    @property
    def features(self) -> tuple[str, ...]:
        """Fields that models may use."""
        return self.with_role("feature")

    @property
    def nuisances(self) -> tuple[str, ...]:
        """Fields that scores should not depend on."""
        return self.with_role("nuisance")

    @property
    def observers(self) -> tuple[str, ...]:
        """Fields that ride along for plots."""
        return self.with_role("observer")

    @property
    def event_weights(self) -> tuple[str, ...]:
        """Fields whose product is the event weight; may be empty, then the weight is 1."""
        return self.with_role("event_weight")

    @property
    def event_number(self) -> str | None:
        """The field with the event number, or None."""
        return next(iter(self.with_role("event_number")), None)

    @property
    def run_number(self) -> str | None:
        """The field with the run number, or None: then it is 0."""
        return next(iter(self.with_role("run_number")), None)

    @property
    def label(self) -> str | None:
        """The field with the label, or None: then the process decides."""
        return next(iter(self.with_role("label")), None)

    def unit_in_memory(self, name: str) -> str:
        """Return the unit of a field in memory; ``"1"`` for a pure number.

        Args:
            name: ``field`` or ``collection.field``.
        """
        group, _, inner = name.partition(".")
        if inner:
            return house_unit(self.collections[group].branches[inner].unit)
        flat: dict[str, Branch | Derived] = {**self.branches, **self.derived}
        return self.computed_fields[name] if name not in flat else house_unit(flat[name].unit)


def _undescribed(content: dict[str, Any]) -> dict[str, Any]:
    """Return the content without its descriptions; a field may well be called ``description``."""
    branches = content["branches"].values()
    groups = content["collections"].values()
    inner = [branch for group in groups for branch in group["branches"].values()]
    for place in (content, *branches, *groups, *inner, *content["derived"].values()):
        del place["description"]
    return content
