"""Files to awkward arrays and back: the only door to uproot and h5py."""

from __future__ import annotations
