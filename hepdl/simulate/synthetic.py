"""Events drawn from any schema, with no extra installed: for trials and tests.

Nothing here is physics. Each field gets plausible values for its unit and name, somewhat different
for signal and background, so that a training has something to learn and cannot be perfect. A
collection with a four-vector becomes two hard prongs (signal) or one (background) around the axis
of a jet, and fields called ``jet_pt``, ``jet_eta``, ``jet_phi``, ``jet_mass`` and
``n_<collection>`` are computed from it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, Literal

import awkward as ak
import numpy as np
import numpy.typing as npt

from hepdl.errors import ConfigError, SchemaError
from hepdl.kinematics import fourvectors
from hepdl.schema import Schema, add_derived, select

__all__ = ["generate"]

Array = npt.NDArray[Any]

# Entries drawn at a time; fixed, so that the first events do not depend on how many are wanted.
BATCH = 2048
# A selection that keeps fewer than one entry in this many drawn counts as one that never passes.
HOPELESS = 25 * BATCH
# Draws of one object in a batch; a collection is never longer.
MAX_MULTIPLICITY = 200


def generate(
    n_events: int,
    *,
    seed: int,
    schema: Schema,
    label: Literal["signal", "background"] = "signal",
    process: str = "",
    n_processes: int = 1,
    progress: Callable[[int], None] | None = None,
) -> ak.Array:
    """Return exactly ``n_events`` entries that pass the schema's selection.

    Args:
        n_events: Entries wanted.
        seed: The same seed, label and process give the same entries; the first ones do not depend
            on how many are wanted.
        schema: Which fields to draw, and the selection.
        label: ``signal`` or ``background``.
        process: Any word; another word gives other entries of the same kind.
        n_processes: Has no effect; one process is fast enough.
        progress: Called with the number of new entries.

    Returns:
        Records with the schema's fields in house units; without the derived fields.

    Raises:
        ConfigError: ``label`` or ``n_events`` is none that can be drawn.
        SchemaError: No entry passes the selection.
    """
    if label not in {"signal", "background"} or n_events < 0:
        message = (
            "synthetic: label must be signal or background and n_events >= 0, "
            f"not {label!r}, {n_events}"
        )
        raise ConfigError(message)
    # crc32 and not hash(): that differs from one Python process to the next.
    root = (seed, zlib.crc32(f"{label}/{process}".encode()))
    kept: list[ak.Array] = []
    n_kept = n_drawn = 0
    while n_kept < n_events or not kept:
        random = np.random.default_rng((*root, n_drawn))
        batch = _draw(random, schema, is_signal=label == "signal", first=n_drawn + 1)
        n_drawn += len(batch)
        mask, rejected = select(add_derived(batch, schema), schema)
        chosen = batch[mask][: n_events - n_kept]
        n_kept += len(chosen)
        kept.append(chosen)
        if progress is not None and len(chosen):
            progress(len(chosen))
        if n_events and n_drawn >= HOPELESS and n_kept * HOPELESS < n_drawn:
            raise SchemaError(_hopeless(schema, rejected, n_drawn))
    return ak.to_packed(ak.concatenate(kept))


def _hopeless(schema: Schema, rejected: dict[str, int], n_drawn: int) -> str:
    cut = max(rejected, key=lambda name: rejected[name])
    return (
        f"none of {n_drawn} synthetic entries passes the selection of schema {schema.name}: "
        f"most fail {cut!r} ({schema.selection[cut]}); widen it, or use another generator"
    )


def _draw(random: np.random.Generator, schema: Schema, *, is_signal: bool, first: int) -> ak.Array:
    columns: dict[str, Any] = {}
    known: dict[str, Array] = {}
    collections: dict[str, ak.Array] = {}
    for name in schema.collections:
        collections[name], values = _collection(random, schema, name, is_signal=is_signal)
        # The first collection is that of the jet; further ones only have their count.
        known = values | known
    known = _substructure(random, known, is_signal=is_signal)
    for name, branch in schema.branches.items():
        if name in known:
            drawn = known[name]
        else:
            drawn = _flat(random, schema, name, is_signal=is_signal, first=first)
        columns[name] = _cast(drawn, branch.type)
    return ak.zip({**columns, **collections}, depth_limit=1)


def _cast(values: Array, kind: str) -> Array:
    if np.dtype(kind).kind in "iu":
        info = np.iinfo(kind)
        return np.clip(np.rint(values), info.min, info.max).astype(kind)
    return values > 0.5 if kind == "bool" else values.astype(kind)


def _flat(
    random: np.random.Generator, schema: Schema, name: str, *, is_signal: bool, first: int
) -> Array:
    branch = schema.branches[name]
    if "event_number" in branch.role:
        return np.arange(first, first + BATCH)
    if "run_number" in branch.role:
        return np.ones(BATCH, dtype=np.int64)
    if "label" in branch.role and branch.classes is not None:
        return np.full(BATCH, branch.classes["signal" if is_signal else "background"])
    if "event_weight" in branch.role:
        return random.lognormal(0.0, 0.2, BATCH)
    unit = schema.unit_in_memory(name)
    return _values(random, BATCH, name=name, unit=unit, kind=branch.type, is_signal=is_signal)


def _values(
    random: np.random.Generator, n: int, *, name: str, unit: str, kind: str, is_signal: bool
) -> Array:
    """Return plausible values for a name, a unit and a type."""
    words = set(name.lower().split("_"))
    if kind == "bool":
        return (random.random(n) < (0.6 if is_signal else 0.4)).astype(np.float64)
    if kind != "float32" and kind != "float64":
        if words & {"charge"}:
            return random.choice([-1, 1], n)
        return random.poisson(4.0 if is_signal else 3.0, n)
    if unit == "GeV":
        if words & {"mass", "m", "msd"}:
            peak = random.normal(80.4, 10.0, n).clip(1.0)
            return np.where(
                random.random(n) < (0.7 if is_signal else 0.1),
                peak,
                random.exponential(70.0, n) + 1,
            )
        return 20.0 + random.exponential(60.0 if is_signal else 45.0, n)
    if unit == "rad":
        return random.uniform(-np.pi, np.pi, n)
    if unit in {"mm", "ns", "pb"}:
        return random.exponential(1.3 if is_signal else 1.0, n)
    if "eta" in words or "rapidity" in words or "y" in words:
        return random.normal(0.0, 1.1, n).clip(-2.5, 2.5)
    if words & {"tau21", "tau32", "score", "btag", "fraction", "ratio"} or "btag" in name.lower():
        return random.beta(4.0 if is_signal else 5.0, 5.5 if is_signal else 5.0, n)
    return random.normal(0.3 if is_signal else -0.3, 1.0, n)


def _collection(
    random: np.random.Generator, schema: Schema, name: str, *, is_signal: bool
) -> tuple[ak.Array, dict[str, Array]]:
    """Return a collection, and the flat quantities that follow from it, by field name."""
    collection = schema.collections[name]
    counts = 1 + random.negative_binomial(6, 6 / (6 + (27 if is_signal else 33)), BATCH)
    counts = np.minimum(counts, MAX_MULTIPLICITY)
    counts[random.random(BATCH) < 0.01] = 1
    columns: dict[str, Array] = {}
    quantities: dict[str, Array] = {f"n_{name}": counts}
    if collection.four_vector is not None:
        p4 = _jets(random, counts, is_signal=is_signal)
        columns = _components(p4)
        quantities |= _sums(p4, counts)
    n_rows = int(counts.sum())
    fields = {}
    for field, branch in collection.branches.items():
        values = columns.get(field) if field in (collection.four_vector or ()) else None
        if values is None:
            unit = schema.unit_in_memory(f"{name}.{field}")
            values = _values(
                random, n_rows, name=field, unit=unit, kind=branch.type, is_signal=is_signal
            )
        fields[field] = ak.unflatten(_cast(values, branch.type), counts)
    return ak.zip(fields, depth_limit=2), quantities


def _jets(random: np.random.Generator, counts: Array, *, is_signal: bool) -> Array:
    """Return massless constituents ``(n_rows, 4)``: two prongs for signal, one for background.

    Their opening angle is that of a W boson at the jet's pT, 2 m / pT.
    """
    n_jets, n_rows = len(counts), int(counts.sum())
    # A W or a quark above the threshold, with the falling spectrum of hadron collisions.
    pt = 250.0 * (1.0 + random.pareto(9.0, n_jets))
    eta, phi = random.uniform(-2.0, 2.0, n_jets), random.uniform(-np.pi, np.pi, n_jets)
    jet = np.repeat(np.arange(n_jets), counts)
    # Every other background jet splits hard, too, at an angle of their own.
    has_prongs = random.random(n_jets) < (0.85 if is_signal else 0.5)
    mass = random.normal(80.4, 12.0, n_jets) if is_signal else random.uniform(30.0, 130.0, n_jets)
    opening = np.where(has_prongs, 2.0 * mass / pt, 0.0)
    share = np.where(is_signal, random.uniform(0.3, 0.7, n_jets), random.beta(1.2, 3.0, n_jets))
    turn = random.uniform(0.0, 2.0 * np.pi, n_jets)
    is_first = random.random(n_rows) < 0.5
    weight = random.exponential(1.0, n_rows) ** 1.5 * np.where(is_first, share[jet], 1 - share[jet])
    weight /= np.bincount(jet, weight, n_jets)[jet]
    distance = np.where(is_first, 1 - share[jet], -share[jet]) * opening[jet]
    spread = 0.05 if is_signal else 0.08
    wide = random.random(n_rows) < 0.25  # soft radiation far from the prongs
    spread_rows = np.where(wide, 0.3, spread)
    weight = weight * np.where(wide, 0.1, 1.0)
    weight /= np.bincount(jet, weight, n_jets)[jet]
    rows_eta = eta[jet] + distance * np.cos(turn[jet]) + random.normal(0.0, spread_rows)
    rows_phi = phi[jet] + distance * np.sin(turn[jet]) + random.normal(0.0, spread_rows)
    rows_phi = (rows_phi + np.pi) % (2 * np.pi) - np.pi
    return fourvectors.from_pt_eta_phi(pt[jet] * weight, rows_eta, rows_phi, mass=np.zeros(n_rows))


def _components(p4: Array) -> dict[str, Array]:
    """Return every component that a schema may ask for; the objects are massless."""
    return {
        "px": p4[:, 0],
        "py": p4[:, 1],
        "pz": p4[:, 2],
        "energy": p4[:, 3],
        "pt": fourvectors.pt(p4),
        "eta": fourvectors.eta(p4),
        "phi": fourvectors.phi(p4),
        "mass": np.zeros(len(p4)),
    }


def _sums(p4: Array, counts: Array) -> dict[str, Array]:
    """Return the jet's own quantities."""
    starts = np.concatenate(([0], np.cumsum(counts)[:-1]))
    jets = np.add.reduceat(p4, starts, axis=0)
    return {
        "jet_pt": fourvectors.pt(jets),
        "jet_eta": fourvectors.eta(jets),
        "jet_phi": fourvectors.phi(jets),
        "jet_mass": fourvectors.mass(jets),
    }


def _substructure(
    random: np.random.Generator, known: dict[str, Array], *, is_signal: bool
) -> dict[str, Array]:
    """Add a groomed mass that never exceeds the jet's; grooming takes more from background."""
    if "jet_mass" not in known:
        return known
    kept = random.beta(6.0 if is_signal else 2.5, 1.5, BATCH)
    return known | {"soft_drop_mass": known["jet_mass"] * kept}
