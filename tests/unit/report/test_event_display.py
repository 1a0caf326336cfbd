"""The drawn event: its colours, places, masses and verdicts are those of the assignment."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.patches import Circle

from hepdl.errors import DataError
from hepdl.kinematics import (
    TTH_DECAY,
    Decay,
    assign,
    chi_square,
    from_pt_eta_phi,
    k_best,
    mass,
    neutrinos_of,
    pt,
    tth_candidates,
)
from hepdl.report.event_display import DrawnEvent, draw_events
from hepdl.report.style import NEUTRAL

DECAY = Decay.from_mapping(TTH_DECAY)
NAMES = [particle.name for particle in DECAY.particles]


def tth_event(*, n_jets=7, seed=0, turned=0.0) -> DrawnEvent:
    """Return jets in random directions, all turned by one angle, with the best assignment."""
    rng = np.random.default_rng(seed)
    angles = (rng.uniform(-np.pi, np.pi, n_jets) + turned + np.pi) % (2.0 * np.pi) - np.pi
    jets = from_pt_eta_phi(
        np.sort(rng.uniform(30.0, 150.0, n_jets))[::-1], rng.uniform(-2.4, 2.4, n_jets), angles,
        mass=np.full(n_jets, 8.0),
    )  # fmt: skip
    b_tag = rng.permutation(np.arange(n_jets) % 5)
    lepton = from_pt_eta_phi(
        np.array([60.0]), np.array([0.3]), np.array([1.0 + turned]), mass=np.zeros(1)
    )
    neutrinos = neutrinos_of(lepton, np.array([50.0]), np.array([2.0 + turned]))
    mask = np.ones((1, n_jets), dtype=bool)
    candidates = tth_candidates(jets[None], b_tag[None], mask, neutrinos.is_real)
    made = assign(DECAY, candidates)
    momenta = {"jets": jets[None], "lepton": lepton[:, None], "neutrino": neutrinos.p4}
    best = k_best(chi_square(made, momenta), 1)
    is_jet = np.array([name == "jets" for name in made.collections])
    return DrawnEvent(
        decay=DECAY,
        leaves=made.momenta(momenta, best)[0, 0, : len(DECAY.leaves)],
        jet_of_leaf=np.where(is_jet, made.members(best)[0, 0], -1),
        jets=jets,
        b_tag=b_tag,
        lepton=lepton[0],
        missing=50.0 * np.array([np.cos(2.0 + turned), np.sin(2.0 + turned)]),
    )


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_momenta_are_those_of_the_assignment():
    event = tth_event()
    found = dict(zip(DECAY.names, event.momenta(), strict=True))
    np.testing.assert_allclose(found["higgs"], found["b1"] + found["b2"], rtol=1e-12)
    np.testing.assert_allclose(found["tth"], event.leaves.sum(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found["w_had"], found["q1"] + found["q2"], rtol=1e-12)


def test_branches_are_the_highest_particles_of_known_mass():
    event = tth_event()
    branches = event.branches()
    assert {branches[leaf] for leaf in ("q1", "q2", "b_had")} == {"top_had"}
    assert {branches[leaf] for leaf in ("b1", "b2")} == {"higgs"}
    assert {branches[leaf] for leaf in ("lepton", "neutrino", "b_lep")} == {"top_lep"}
    colours = event.colours()
    assert len(set(colours.values())) == 3
    assert colours["w_had"] == colours["top_had"] == colours["q1"]
    # What lies above several branches belongs to none.
    assert "tt" not in colours
    assert "tth" not in colours


def test_without_masses_a_branch_is_the_mother():
    decay = Decay.from_mapping(
        {
            "particles": {"z": ["w", "c"], "w": ["a", "b"]},
            "leaves": {"a": "jet", "b": "jet", "c": "jet"},
        }
    )
    jets = tth_event().jets[:3]
    event = DrawnEvent(
        decay, jets, np.arange(3), jets, np.zeros(3, dtype=int), tth_event().lepton, np.ones(2)
    )
    assert event.branches() == {"a": "w", "b": "w", "c": "z"}
    left, right = draw_events({"any": event}).axes
    # A lepton that is no leaf is drawn too.
    assert "lepton" in texts(left)
    assert any(text.startswith("w\n") for text in texts(right))


def test_figure_says_masses_momenta_tags_and_missing_momentum():
    event = tth_event()
    figure = draw_events({"ttH": event}, note="χ²")
    figure.draw_without_rendering()
    left, right = figure.axes
    found = dict(zip(DECAY.names, event.momenta(), strict=True))
    for name in NAMES:
        expected = f"{name.replace('_', ' ')}\n{float(mass(found[name])):.0f} GeV"
        assert expected in texts(right)
    b1 = DECAY.leaves.index("b1")
    tag = event.b_tag[event.jet_of_leaf[b1]]
    expected = f"b1,  $p_{{T}}$ {float(pt(event.leaves[b1])):.0f} GeV,  tag {tag}"
    assert expected in texts(right)
    assert left.get_title("left") == "ttH"
    assert "7 jets" in left.get_title("right")
    assert "50 GeV" in left.get_title("right")
    assert right.get_title("right") == "χ²"
    for label in ("b1", "q2", "lepton", "neutrino", "missing $p_{T}$"):
        assert label in texts(left)
    tags = [text for text in texts(left) if text.isdigit()]
    assert sorted(tags) == sorted(str(tag) for tag in event.b_tag)


def test_names_stay_inside_the_plane_and_a_far_neutrino_points_out():
    event = tth_event()
    leaves = event.leaves.copy()
    neutrino = DECAY.leaves.index("neutrino")
    px, py = leaves[neutrino, :2]
    leaves[neutrino, 2:] = -50.0 * np.sinh(4.0), 50.0 * np.cosh(4.0)  # eta -4
    far = replace(event, leaves=leaves, missing=np.array([px, py]))
    figure = draw_events({"ttH": event, "far": far})
    figure.draw_without_rendering()
    for axes in figure.axes[::2]:
        frame = axes.get_window_extent()
        for text in axes.texts:
            found = text.get_window_extent()
            # The white outline of a letter may touch the frame.
            assert frame.x0 - 2 <= found.x0 <= found.x1 <= frame.x1 + 2
            assert frame.y0 - 2 <= found.y0 <= found.y1 <= frame.y1 + 2
    markers = [{line.get_marker() for line in axes.lines} for axes in figure.axes[::2]]
    assert "D" in markers[0]
    assert "<" in markers[1]


def discs(axes, *, colour=None):
    """Return centres and radii of the filled inner discs."""
    found = [
        patch
        for patch in axes.patches
        if isinstance(patch, Circle) and patch.get_alpha() == 0.85
        if colour is None or np.allclose(patch.get_facecolor()[:3], hex_to_rgb(colour))
    ]
    return np.array([(*patch.center, patch.radius) for patch in found])


def hex_to_rgb(colour):
    return [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]


def test_area_of_a_disc_is_the_transverse_momentum():
    event = tth_event()
    left = draw_events({"ttH": event}, jet_radius=0.4).axes[0]
    sizes = np.unique(np.round(discs(left)[:, 2] ** 2, 12))[::-1]
    np.testing.assert_allclose(sizes / sizes[0], pt(event.jets) / pt(event.jets)[0], rtol=1e-6)
    assert sizes[0] == pytest.approx(0.16, rel=1e-9)


def test_jets_that_are_nothing_are_grey():
    event = tth_event(n_jets=9)
    left = draw_events({"ttH": event}).axes[0]
    # Three copies of each, a turn apart.
    assert len(discs(left, colour=NEUTRAL)) == 3 * 3
    assert len(discs(left)) == 3 * 9


def test_each_object_is_seen_once_wherever_the_event_is_turned_to():
    distances = []
    for turned in (0.0, 1.7, 3.1, -2.2):
        event = tth_event(turned=turned)
        axes = draw_events({"ttH": event}).axes[0]
        low, high = axes.get_ylim()
        assert high - low == pytest.approx(2.0 * np.pi, rel=1e-12)
        centres = discs(axes)
        inside = centres[(centres[:, 1] > low) & (centres[:, 1] < high)]
        assert len(inside) == 7
        place = inside[np.argsort(-inside[:, 2])][:, :2]
        # The plane is cut between objects, so what is drawn does not change but for its labels.
        distances.append(place - [0.0, low])
    for other in distances[1:]:
        np.testing.assert_allclose(other, distances[0], atol=1e-9)


def test_verdicts_stand_beside_the_particles():
    event = tth_event()
    right = np.array([name in ("higgs", "top_lep") for name in NAMES])
    known = np.array([name != "w_lep" for name in NAMES])
    axes = draw_events({"ttH": replace(event, is_right=right, is_known=known)}).axes[1]
    boxes = {text.split("\n")[0] for text in texts(axes)}
    assert {"higgs ✓", "top lep ✓", "w had ✗", "w lep ?"} <= boxes
    dashed = [
        text.get_text().split("\n")[0]
        for text in axes.texts
        if text.get_bbox_patch() is not None and text.get_bbox_patch().get_linestyle() == "--"
    ]
    assert sorted(dashed) == ["top had ✗", "tt ✗", "tth ✗", "w had ✗"]
    assert any("not known from truth" in text for text in texts(axes))
    without = draw_events({"ttH": event}).axes[1]
    assert not any("truth" in text for text in texts(without))


def test_several_events_make_rows_of_one_size():
    figure = draw_events({"ttH": tth_event(), "tt": tth_event(n_jets=11, seed=3)})
    figure.draw_without_rendering()
    assert len(figure.axes) == 4
    widths = [axes.get_position().width for axes in figure.axes]
    assert widths[0] == pytest.approx(widths[2], rel=1e-6)


def test_event_that_does_not_fit_the_decay_is_refused():
    event = tth_event()
    with pytest.raises(DataError, match=r"leaves of the drawn event has shape \(7, 4\)"):
        replace(event, leaves=event.leaves[1:])
    with pytest.raises(DataError, match=r"b_tag .* \(7,\) is needed"):
        replace(event, b_tag=event.b_tag[1:])
    with pytest.raises(DataError, match=r"is_right .* has shape \(2,\)"):
        replace(event, is_right=np.ones(2, dtype=bool))
    with pytest.raises(DataError, match="of 7; take the jets and the assignment of the same event"):
        replace(event, jet_of_leaf=event.jet_of_leaf + 7)
