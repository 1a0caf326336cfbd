"""How a decay is put together again from the objects of an event, written down as data.

A recipe says what the objects are (a collection of jets, a lepton, the neutrino that follows from
the missing momentum), which of them are candidates for which kind of leaf, and by which column
truth marks the jets. In YAML, with the defaults for ttH(bb) → lepton + jets:

    decay: {particles: …, leaves: …}            # see hepdl.kinematics.decays
    objects:
      jets:     {collection: jets, b_tag: b_tag}
      lepton:   {four_vector: [lepton_pt, lepton_eta, lepton_phi, lepton_energy]}
      neutrino: {lepton: lepton, met: [met, met_phi]}
    candidates:
      b_jet:     {of: jets, highest_tags: 4}      # the four of highest tag, by falling pT
      light_jet: {of: jets, without: b_jet, n: 4} # the four leading others
      lepton:    {of: lepton, n: 1}
      neutrino:  {of: neutrino, n: 2}             # both solutions
    truth: {column: truth_parton, codes: {b_lep: 1, b_had: 2, q1: 3, q2: 4, b1: 5, b2: 6}}

Reference:
    Candidates by rank of b-tag as ATLAS' reconstruction of ttH(bb), arXiv:1712.08895.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hepdl.errors import ConfigError, unknown_name
from hepdl.kinematics import TTH_DECAY, TTH_PARTONS, W_MASS, Decay

__all__ = ["TTH_RECONSTRUCTION", "CandidateSource", "ObjectSource", "ReconstructionRecipe"]

TTH_RECONSTRUCTION: dict[str, Any] = {
    "decay": TTH_DECAY,
    "objects": {
        "jets": {"collection": "jets", "b_tag": "b_tag"},
        "lepton": {"four_vector": ["lepton_pt", "lepton_eta", "lepton_phi", "lepton_energy"]},
        "neutrino": {"lepton": "lepton", "met": ["met", "met_phi"]},
    },
    "candidates": {
        "b_jet": {"of": "jets", "highest_tags": 4},
        "light_jet": {"of": "jets", "without": "b_jet", "n": 4},
        "lepton": {"of": "lepton", "n": 1},
        "neutrino": {"of": "neutrino", "n": 2},
    },
    "truth": {"column": "truth_parton", "codes": TTH_PARTONS},
}

_OBJECT_KEYS = ("collection", "b_tag", "four_vector", "lepton", "met", "w_mass")
_CANDIDATE_KEYS = ("of", "highest_tags", "without", "n")


@dataclass(frozen=True)
class ObjectSource:
    """Where the objects of one name come from: exactly one of the three ways.

    Attributes:
        name: Its name.
        collection: A collection of the events, with the four-vector of each object.
        b_tag: Its column with the tag bin, or None.
        four_vector: Flat fields pt, eta, phi, energy of one object.
        lepton: The object that makes a W with the neutrino.
        met: Flat fields of the missing transverse momentum and its azimuth.
        w_mass: Mass of that W [GeV].
    """

    name: str
    collection: str | None = None
    b_tag: str | None = None
    four_vector: tuple[str, ...] = ()
    lepton: str | None = None
    met: tuple[str, ...] = ()
    w_mass: float = W_MASS


@dataclass(frozen=True)
class CandidateSource:
    """Which objects may be leaves of one kind.

    Attributes:
        kind: The kind of leaf.
        of: Name of the objects.
        n: At most so many, by falling pT.
        by_tag: Take those of highest tag; of equal ones those of larger pT.
        without: Leave out the candidates of another kind.
    """

    kind: str
    of: str
    n: int
    by_tag: bool = False
    without: str | None = None


@dataclass(frozen=True)
class ReconstructionRecipe:
    """What is assigned to what.

    Attributes:
        decay: The decay.
        objects: The objects of an event.
        candidates: The candidates for each kind of leaf.
        truth_column: Column of a collection with the code of the parton that an object is matched
            to, or None where truth is not known.
        truth_codes: Leaf and its code.
    """

    decay: Decay
    objects: tuple[ObjectSource, ...]
    candidates: tuple[CandidateSource, ...]
    truth_column: str | None = None
    truth_codes: tuple[tuple[str, int], ...] = ()
    _mapping: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def from_mapping(
        cls, mapping: Mapping[str, Any], *, where: str = "reconstruction"
    ) -> ReconstructionRecipe:
        """Return the recipe that a mapping (of a YAML file) describes; see the module.

        What is not given is that of ``TTH_RECONSTRUCTION``.

        Args:
            mapping: ``decay``, ``objects``, ``candidates``, ``truth``; none is required.
            where: The key path, for messages.

        Raises:
            ConfigError: Names every problem.
        """
        problems = [
            unknown_name("key", str(key), TTH_RECONSTRUCTION, where=where)
            for key in mapping
            if key not in TTH_RECONSTRUCTION
        ]
        given = {key: value for key, value in mapping.items() if value is not None}
        full = TTH_RECONSTRUCTION | given
        decay = None
        try:
            decay = Decay.from_mapping(full["decay"], where=f"{where}.decay")
        except ConfigError as error:
            problems.append(str(error))
        objects = tuple(
            _object(name, value, full["objects"], f"{where}.objects", problems)
            for name, value in full["objects"].items()
        )
        candidates = tuple(
            _candidate(kind, value, full, f"{where}.candidates", problems)
            for kind, value in full["candidates"].items()
        )
        # Another decay than the default one has no truth unless it is told.
        truth = full["truth"] if "decay" not in given or "truth" in given else None
        if decay is not None:
            problems += [
                unknown_name("kind of candidates", kind, full["candidates"], where=f"leaf {leaf}")
                for leaf, kind in zip(decay.leaves, decay.kinds, strict=True)
                if kind not in full["candidates"]
            ]
            problems += _truth_problems(truth, decay, f"{where}.truth")
        if problems or decay is None:
            raise ConfigError("\n".join(dict.fromkeys(problems)))
        codes = {} if truth is None else truth["codes"]
        return cls(
            decay,
            objects,
            candidates,
            None if truth is None else str(truth["column"]),
            tuple((str(leaf), int(code)) for leaf, code in codes.items()),
            {**full, "truth": truth},
        )

    def as_mapping(self) -> dict[str, Any]:
        """Return the mapping that ``from_mapping`` takes, with every default written out."""
        return dict(self._mapping)

    @property
    def flat_fields(self) -> tuple[str, ...]:
        """The flat fields of the schema that are needed."""
        found = [name for source in self.objects for name in (*source.four_vector, *source.met)]
        return tuple(dict.fromkeys(found))

    @property
    def collections(self) -> dict[str, tuple[str, ...]]:
        """The collections that are needed, each with its tag, if it has one."""
        return {
            source.collection: () if source.b_tag is None else (source.b_tag,)
            for source in self.objects
            if source.collection is not None
        }


def _object(
    name: str, value: Any, objects: Mapping[str, Any], where: str, problems: list[str]
) -> ObjectSource:
    """Return one object of the mapping; what is wrong with it is added to ``problems``."""
    place = f"{where}.{name}"
    if not _is_mapping(value, _OBJECT_KEYS, place, problems):
        return ObjectSource(name)
    ways = [key for key in ("collection", "four_vector", "met") if value.get(key)]
    if len(ways) != 1:
        problems.append(
            f"{place}: give exactly one of collection, four_vector and met, not {len(ways)}"
        )
    for key, n in (("four_vector", 4), ("met", 2)):
        fields = value.get(key) or ()
        if fields and (isinstance(fields, str) or len(fields) != n):
            problems.append(f"{place}.{key} is {fields!r}; it needs the names of {n} flat fields")
    lepton = value.get("lepton")
    if value.get("met") and lepton not in objects:
        problems.append(unknown_name("object", str(lepton), objects, where=f"{place}.lepton"))
    w_mass = value.get("w_mass", W_MASS)
    if not (isinstance(w_mass, int | float) and w_mass > 0):
        problems.append(f"{place}.w_mass is {w_mass!r}; it is a positive number [GeV]")
        w_mass = W_MASS
    return ObjectSource(
        name,
        collection=value.get("collection"),
        b_tag=value.get("b_tag"),
        four_vector=tuple(value.get("four_vector") or ()),
        lepton=lepton,
        met=tuple(value.get("met") or ()),
        w_mass=float(w_mass),
    )


def _candidate(
    kind: str, value: Any, full: Mapping[str, Any], where: str, problems: list[str]
) -> CandidateSource:
    """Return the candidates of one kind; what is wrong with them is added to ``problems``."""
    place = f"{where}.{kind}"
    if not _is_mapping(value, _CANDIDATE_KEYS, place, problems):
        return CandidateSource(kind, "", 1)
    of = str(value.get("of"))
    if of not in full["objects"]:
        problems.append(unknown_name("object", of, full["objects"], where=f"{place}.of"))
    ways = [key for key in ("highest_tags", "n") if value.get(key) is not None]
    n = value.get(ways[0]) if len(ways) == 1 else None
    if not (isinstance(n, int) and not isinstance(n, bool) and n >= 1):
        problems.append(f"{place}: give one of n and highest_tags, a whole number of at least 1")
        n = 1
    by_tag = "highest_tags" in ways
    if by_tag and not dict(full["objects"].get(of) or {}).get("b_tag"):
        problems.append(f"{place}.highest_tags: {of} has no b_tag; name the column in objects.{of}")
    without = value.get("without")
    if without is not None and without not in full["candidates"]:
        place = f"{place}.without"
        problems.append(
            unknown_name("kind of candidates", without, full["candidates"], where=place)
        )
    return CandidateSource(kind, of, n, by_tag=by_tag, without=without)


def _is_mapping(value: Any, keys: tuple[str, ...], where: str, problems: list[str]) -> bool:
    if not isinstance(value, Mapping):
        problems.append(f"{where} is {value!r}; it must be a mapping with {', '.join(keys)}")
        return False
    problems += [
        unknown_name("key", str(key), keys, where=where) for key in value if key not in keys
    ]
    return True


def _truth_problems(truth: Any, decay: Decay, where: str) -> list[str]:
    if truth is None:
        return []
    if not isinstance(truth, Mapping) or set(truth) != {"column", "codes"}:
        return [f"{where} is {truth!r}; it needs the keys column and codes"]
    codes = truth["codes"]
    if not isinstance(codes, Mapping) or not codes:
        return [f"{where}.codes is {codes!r}; it must name the code of at least one leaf"]
    return [
        unknown_name("leaf", str(leaf), decay.leaves, where=f"{where}.codes")
        for leaf in codes
        if leaf not in decay.leaves
    ]
