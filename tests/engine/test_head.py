"""A head read in int8 chooses the same tokens as the full one."""

from __future__ import annotations

import pytest
import torch
from jupyter_mistral.engine.decode.head import ROWS, NarrowHead, narrow
from torch.nn import Linear, Module


def head_of(rows: int, size: int, seed: int) -> Linear:
    """Rows of very different length, rows that are the same, rows that nearly are, a row of zeros."""
    torch.manual_seed(seed)
    weight = torch.randn(rows, size) * torch.rand(rows, 1).mul(4).exp()
    weight[100:120] = weight[100]
    weight[200:220] = weight[200] + 0.01 * torch.randn(20, size)
    weight[300] = 0
    weight[400, 5] = 300.0  # one outlier spoils the scale of its row
    head = Linear(size, rows, bias=False, dtype=torch.bfloat16)
    head.weight.data.copy_(weight)
    return head.requires_grad_(False)


@pytest.mark.parametrize("seed", range(4))
def test_the_best_token_equals_that_of_the_full_head(seed: int) -> None:
    head = head_of(3000, 128, seed)
    small = NarrowHead(head)
    # states that point at a row, or between rows, are those where the choice is close
    pointed = head.weight[torch.arange(0, 3000, 7)].float() + torch.randn(429, 128)
    for state in (
        *pointed.bfloat16(),
        *(torch.randn(200, 128) * 10).bfloat16(),
        torch.zeros(128, dtype=torch.bfloat16),
    ):
        full, ours = head(state[None])[0], small(state[None])[0]
        assert int(ours.argmax()) == int(full.argmax())
        assert ours.max() == full.max(), "to the bit"


def test_scores_that_are_not_recomputed_are_within_the_bound() -> None:
    head = head_of(3000, 128, 9)
    small = NarrowHead(head)
    state = torch.randn(1, 128).bfloat16()
    full, ours = head(state)[0].float(), small(state)[0].float()
    assert not torch.equal(full, ours), "nothing was narrowed"
    assert bool(((full - ours).abs() <= state.float().norm() * small._error + full.abs() * 2**-7).all())


def test_several_tokens_at_once_and_more_than_pays() -> None:
    head = head_of(3000, 128, 3)
    small = NarrowHead(head)
    states = torch.randn(1, ROWS, 128).bfloat16()
    assert small(states).shape == (1, ROWS, 3000)
    assert torch.equal(small(states).argmax(-1), head(states).argmax(-1))
    many = torch.randn(1, ROWS + 1, 128).bfloat16()
    assert torch.equal(small(many), head(many))


class Model(Module):
    def __init__(self, head: Module) -> None:
        super().__init__()
        self.head = head

    def get_output_embeddings(self) -> Module:
        return self.head

    def set_output_embeddings(self, head: Module) -> None:
        self.head = head


def test_only_a_head_that_the_proof_covers_is_narrowed() -> None:
    assert narrow(Model(head_of(1000, 64, 1)))
    for other in (
        Linear(64, 1000, bias=True, dtype=torch.bfloat16),
        Linear(64, 1000, bias=False),
        NarrowHead(head_of(1000, 64, 1)),
    ):
        model = Model(other)
        assert not narrow(model)
        assert model.head is other
