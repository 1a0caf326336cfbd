"""A detector as parametrised functions: what is measured of the particles of an event.

Pure functions on numpy arrays. What is random takes either a ``numpy.random.Generator`` or numbers
drawn before, so that two measurements of one event (the nominal one and one with another jet
energy scale) can share them.
"""

from __future__ import annotations
