"""Running statistics after a few batches are those of the batches, not of the start."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lungct.models.young_norms import young_statistics

MOMENTUM = 0.05


def _passed(count: int) -> tuple[nn.BatchNorm2d, list[torch.Tensor]]:
    norm, random = nn.BatchNorm2d(3, momentum=MOMENTUM), torch.Generator().manual_seed(0)
    batches = [0.03 * torch.randn(2, 3, 8, 8, generator=random) + 5 for _ in range(count)]
    network = nn.Sequential(nn.Identity(), norm).train()
    for seen, batch in enumerate(batches):
        with young_statistics(network, seen):
            network(batch)
    return norm, batches


def test_the_first_batches_count_alike() -> None:
    norm, batches = _passed(7)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    torch.testing.assert_close(norm.running_mean, torch.stack([one.mean((0, 2, 3)) for one in batches]).mean(0))
    expected = torch.stack([one.var((0, 2, 3)) for one in batches]).mean(0)
    torch.testing.assert_close(norm.running_var, expected, rtol=1e-2, atol=0.0)


def test_later_ones_move_it_by_the_momentum() -> None:
    norm, batches = _passed(30)
    assert norm.running_mean is not None
    means = [one.mean((0, 2, 3)) for one in batches]
    expected = torch.stack(means[:20]).mean(0)
    for one in means[20:]:
        expected = expected.lerp(one, MOMENTUM)
    torch.testing.assert_close(norm.running_mean, expected)
    assert norm.momentum == MOMENTUM


def test_what_is_held_still_stays() -> None:
    norm = nn.BatchNorm2d(3, momentum=MOMENTUM).eval()
    with young_statistics(norm, 0):
        norm(torch.randn(2, 3, 8, 8))
    assert norm.running_var is not None
    assert norm.running_var.tolist() == [1.0, 1.0, 1.0]


def test_a_norm_that_runs_twice_in_a_pass_is_refused() -> None:
    norm = nn.BatchNorm2d(3, momentum=MOMENTUM).train()
    with pytest.raises(RuntimeError, match="ran 2 times in one pass"), young_statistics(norm, 0):
        norm(norm(torch.randn(2, 3, 8, 8)))
