"""What maps scores at a given nuisance to their distribution function, one kind a module."""

from __future__ import annotations
