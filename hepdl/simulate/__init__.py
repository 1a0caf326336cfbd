"""Where data come from when the user has none.

The file's name is the generator's name in YAML; the generator is the first name in the module's
``__all__``. A module whose work comes in chunks also has

* ``chunks(n_events, *, seed, schema, **options)``: the pieces of a request, each with an ``index``
  and the number of its entries ``n_entries``;
* ``iterate_chunks(chunks, *, n_processes, progress)``: these with their events, as they are ready;

so that the pipeline stores each piece as soon as it is there and makes only missing ones again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import awkward as ak

    from hepdl.schema import Schema

__all__ = ["Generator"]


class Generator(Protocol):
    """The contract of every generator; its own options are further keyword arguments."""

    def __call__(self, n_events: int, *, seed: int, schema: Schema | None = None) -> ak.Array:
        """Return exactly ``n_events`` selected entries (jets or events).

        The same seed and options give the same entries. Fields have the names of the schema and
        the units of the house.
        """
