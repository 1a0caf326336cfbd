from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from hepdl.errors import ConfigError, DataError
from hepdl.layers import Lstm

COUNTS = torch.tensor([5, 0, 1, 7, 3])
N_STEPS, N_FEATURES, HIDDEN = 7, 3, 4


@pytest.fixture
def lstm() -> Lstm:
    made = Lstm(N_FEATURES, HIDDEN).double()
    generator = torch.Generator().manual_seed(1)
    for parameter in made.parameters():
        parameter.data.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    return made


@pytest.fixture
def sequences() -> tuple[torch.Tensor, torch.Tensor]:
    """Values and mask; the padding holds large numbers that nobody may read."""
    generator = torch.Generator().manual_seed(2)
    values = torch.randn(len(COUNTS), N_STEPS, N_FEATURES, generator=generator).double()
    mask = torch.arange(N_STEPS) < COUNTS[:, None]
    return values.masked_fill(~mask[:, :, None], 1e3), mask


def by_hand(lstm: Lstm, row: np.ndarray) -> np.ndarray:
    """The equations of the module's docstring, one number at a time, for one sequence."""
    state = {k: v.detach().numpy() for k, v in lstm.cell.state_dict().items()}
    c, h = np.zeros(HIDDEN), np.zeros(HIDDEN)
    for x in row:
        z = [
            sum(state["weight_ih_l0"][k, j] * x[j] for j in range(N_FEATURES))
            + sum(state["weight_hh_l0"][k, j] * h[j] for j in range(HIDDEN))
            + state["bias_ih_l0"][k]
            + state["bias_hh_l0"][k]
            for k in range(4 * HIDDEN)
        ]
        s = [1 / (1 + math.exp(-value)) for value in z]
        for k in range(HIDDEN):
            c[k] = s[HIDDEN + k] * c[k] + s[k] * math.tanh(z[2 * HIDDEN + k])
        h = np.array([s[3 * HIDDEN + k] * math.tanh(c[k]) for k in range(HIDDEN)])
    return h


def test_both_ways_are_the_equations_written_out(lstm, sequences) -> None:
    values, mask = sequences
    expected = np.array(
        [by_hand(lstm, row[:n].numpy()) for row, n in zip(values, COUNTS, strict=True)]
    )
    # The same float64 sums in another order.
    np.testing.assert_allclose(lstm(values, mask).detach(), expected, rtol=1e-10, atol=1e-12)
    traced = lstm.trace(values, mask).last.detach()
    np.testing.assert_allclose(traced, expected, rtol=1e-10, atol=1e-12)


def test_it_is_torchs_lstm_on_packed_sequences(lstm, sequences) -> None:
    values, mask = sequences
    oracle = nn.LSTM(N_FEATURES, HIDDEN, batch_first=True).double()
    oracle.load_state_dict(lstm.cell.state_dict())
    some = COUNTS > 0  # torch packs no empty sequence
    packed = pack_padded_sequence(
        values[some], COUNTS[some], batch_first=True, enforce_sorted=False
    )
    expected = oracle(packed)[1][0][0]
    torch.testing.assert_close(lstm(values, mask)[some], expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(
        lstm.trace(values, mask).last[some], expected, rtol=1e-10, atol=1e-12
    )


def test_both_ways_have_the_same_gradient(lstm, sequences) -> None:
    values, mask = sequences
    gradients = []
    for last in (lstm(values, mask), lstm.trace(values, mask).last):
        lstm.zero_grad()
        last.square().sum().backward()
        gradients.append([p.grad.clone() for p in lstm.parameters()])
    for one, other in zip(*gradients, strict=True):
        assert one.any()
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_forget_one_and_input_zero_keep_the_cell(lstm, sequences) -> None:
    values, mask = sequences
    generator = torch.Generator().manual_seed(3)
    start = torch.randn(2, len(COUNTS), HIDDEN, generator=generator).double()
    trace = lstm.trace(
        values, mask, forced={"forget": 1.0, "input": 0.0}, start=(start[0], start[1])
    )
    assert torch.equal(trace.cell, start[0][:, None].expand(-1, N_STEPS, -1))


def test_forget_zero_and_input_one_replace_the_cell(lstm, sequences) -> None:
    values, mask = sequences
    start = torch.full((2, len(COUNTS), HIDDEN), 0.7).double()
    trace = lstm.trace(
        values, mask, forced={"forget": 0.0, "input": 1.0}, start=(start[0], start[1])
    )
    assert torch.equal(trace.cell[mask], trace.candidate[mask])
    assert not torch.equal(trace.cell[mask], torch.full_like(trace.cell[mask], 0.7))


def test_output_zero_gives_nothing(lstm, sequences) -> None:
    values, mask = sequences
    trace = lstm.trace(values, mask, forced={"output": 0.0})
    assert not trace.last.any()
    assert trace.cell.any()


def test_gates_that_are_read_give_the_cell_back(lstm, sequences) -> None:
    values, mask = sequences
    trace = lstm.trace(values, mask)
    gates = trace.gates
    for name, gate in gates.items():
        assert ((gate >= 0) & (gate <= 1)).all(), name
    before = torch.cat((torch.zeros_like(trace.cell[:, :1]), trace.cell[:, :-1]), dim=1)
    expected = gates["forget"] * before + gates["input"] * trace.candidate
    assert torch.equal(trace.cell[mask], expected[mask])
    assert torch.equal(trace.state[mask], (gates["output"] * trace.cell.tanh())[mask])


def test_a_gate_forced_to_its_own_value_changes_nothing() -> None:
    # With zero weights every gate is s(0) = 1/2, and forcing 1/2 is no intervention.
    lstm = Lstm(2, 3)
    for parameter in lstm.parameters():
        nn.init.zeros_(parameter)
    lstm.cell.bias_ih_l0.data[6:9] = 1.0  # the candidate
    values, mask = torch.randn(4, 5, 2), torch.ones(4, 5, dtype=torch.bool)
    forced = lstm.trace(values, mask, forced=dict.fromkeys(("input", "forget", "output"), 0.5))
    assert torch.equal(forced.last, lstm.trace(values, mask).last)
    # c_t = c/2 + tanh(1)/2 goes to tanh(1): the geometric sum after five steps.
    cell = math.tanh(1) * (1 - 0.5**5)
    assert forced.cell[0, -1, 0].item() == pytest.approx(cell, rel=1e-6)


def test_padding_does_not_matter(lstm, sequences) -> None:
    values, mask = sequences
    for n in (3, 5):
        row = int((n == COUNTS).nonzero()[0])
        short = lstm(values[row : row + 1, :n], mask[row : row + 1, :n])
        # Matrix products of another shape may round differently.
        torch.testing.assert_close(short, lstm(values, mask)[row : row + 1], rtol=1e-12, atol=1e-14)


def test_steps_without_an_entry_may_be_anywhere_in_a_trace(lstm, sequences) -> None:
    values, _ = sequences
    row, holes = values[3:4], torch.tensor([[True, False, True, True, False, False, True]])
    dense = lstm.trace(row[holes][None], torch.ones(1, 4, dtype=torch.bool))
    torch.testing.assert_close(lstm.trace(row, holes).last, dense.last, rtol=1e-12, atol=1e-14)


def test_nothing_in_gives_zero() -> None:
    lstm = Lstm(3, 4)
    empty = torch.zeros(2, 0, 3), torch.zeros(2, 0, dtype=torch.bool)
    assert not lstm(*empty).any()
    assert lstm(*empty).shape == lstm.trace(*empty).last.shape == (2, 4)
    assert lstm(torch.zeros(0, 5, 3), torch.zeros(0, 5, dtype=torch.bool)).shape == (0, 4)
    unseen = torch.full((1, 5, 3), 7.0), torch.zeros(1, 5, dtype=torch.bool)
    assert not lstm(*unseen).any()


def test_parameters_are_counted() -> None:
    # Four gates, each with weights for features and states, and torch's two biases.
    assert sum(p.numel() for p in Lstm(6, 64).parameters()) == 4 * 64 * (6 + 64 + 2)


def test_the_forget_gate_starts_open() -> None:
    trace = Lstm(3, 8).trace(torch.zeros(1, 1, 3), torch.ones(1, 1, dtype=torch.bool))
    assert trace.gates["forget"].mean().item() == pytest.approx(1 / (1 + math.exp(-1)), rel=1e-6)
    assert trace.gates["input"].mean().item() == 0.5


@pytest.mark.parametrize(
    ("forced", "message"),
    [
        ({"forgett": 1.0}, "did you mean 'forget'"),
        ({"input": 1.5}, "forced gate input is 1.5"),
        ({"output": float("nan")}, "forced gate output is nan"),
    ],
)
def test_senseless_gates_are_refused(lstm, sequences, forced, message) -> None:
    with pytest.raises(ConfigError, match=message):
        lstm.trace(*sequences, forced=forced)


def test_a_mask_of_another_shape_is_refused(lstm, sequences) -> None:
    with pytest.raises(DataError, match=r"needs? \(5, 7\)"):
        lstm.trace(sequences[0], sequences[1][:, :3])


def test_an_lstm_without_units_is_refused() -> None:
    with pytest.raises(ConfigError, match="0 hidden units"):
        Lstm(3, 0)


@pytest.mark.gpu
def test_cudnn_runs_the_same_equations(lstm, sequences) -> None:
    values, mask = sequences
    expected = lstm.trace(values, mask).last
    found = lstm.cuda()(values.cuda(), mask.cuda()).cpu()
    # float64 on both; cuDNN sums in another order.
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)
