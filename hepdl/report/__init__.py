"""Figures, tables and the HTML page of a run.

A drawing function takes the results of `hepdl.evaluate`, or plain arrays, and returns a matplotlib
``Figure``; nothing goes through ``pyplot``, so no window, backend or global figure is needed.
`hepdl.report.style.save` writes a figure as PNG and PDF. Models keep the order in which they are
given, and with it their colour in every figure.
"""

from __future__ import annotations
