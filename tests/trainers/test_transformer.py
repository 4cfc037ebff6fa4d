"""The transformer against a plain one with the same parameters, which computes every position of
every row.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn import functional

from trainers.config import ConfigError
from trainers.config import Transformer as Config
from trainers.models.transformer import Transformer

PUBLISHED = Config(
    name="transformer",
    width=128,
    depth=2,
    heads=4,
    feedforward=4,
    norm="post",
    final_norm="auto",
    activation="relu",
    positions="sinusoidal",
    biases="none",
    tied=False,
    init="torch",
    attention_init="auto",
    dropout_attention=0.0,
    dropout_residual=0.0,
    dropout_hidden=0.0,
)
CONFIG = replace(PUBLISHED, width=16, feedforward=2)


def build(
    config: Config, sequence: str = "a o b =", elements: int = 11, vocabulary: int | None = None
) -> Transformer:
    torch.manual_seed(0)
    model = Transformer(config, sequence.split(), elements, vocabulary).double()
    with torch.no_grad():  # norms and biases that are not 1 and 0, so that forgetting one shows
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def plain(model: Transformer, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Logits at the last position, every position of every row computed."""
    config, (pre, post) = model.config, (model.config.norm == name for name in ("pre", "post"))
    operands = {"a": left, "b": right}
    tokens = torch.stack(
        [
            operands[name] if name in operands else torch.full_like(left, model.token[name])
            for name in model.sequence
        ],
        1,
    )
    x = model.embedding(tokens)
    if model.positions is not None:
        x = x + model.positions
    batch, length, width = x.shape
    later = torch.ones(length, length, dtype=torch.bool).triu(1)
    for block in model.blocks:
        h = block.attention_norm(x) if pre else x
        q, k, v = (
            t.view(batch, length, config.heads, -1).transpose(1, 2)
            for t in block.qkv(h).chunk(3, dim=-1)
        )
        scores = (q @ k.transpose(-1, -2) / (width // config.heads) ** 0.5).masked_fill(
            later, -torch.inf
        )
        x = x + block.attention_out(
            (scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, length, width)
        )
        x = block.attention_norm(x) if post else x
        h = block.feedforward_in(block.feedforward_norm(x) if pre else x)
        x = x + block.feedforward_out(
            h.relu() if config.activation == "relu" else functional.gelu(h)
        )
        x = block.feedforward_norm(x) if post else x
    logits: torch.Tensor = model.output(model.norm(x))[:, -1]
    return logits


KINDS = [
    {"norm": norm, "positions": positions, "depth": depth}
    for norm, positions, depth in itertools.product(
        ("pre", "post", "none"), ("learned", "none"), (1, 2, 3)
    )
] + [
    {"activation": "gelu"},
    {"biases": "all"},
    {"biases": "feedforward", "init": "normal"},
    {"tied": True},
    {"final_norm": "layer", "norm": "post"},
    {"final_norm": "layer", "norm": "none"},
]


@pytest.mark.parametrize(
    "rows", [5, 40], ids=["fewer rows than elements", "more rows than elements"]
)
@pytest.mark.parametrize("sequence", ["a b =", "a o b =", "eos a o b ="])
@pytest.mark.parametrize("change", KINDS, ids=lambda change: " ".join(map(str, change.values())))
def test_answers_and_gradients_equal_those_of_a_plain_transformer(
    change: dict[str, Any], sequence: str, rows: int
) -> None:
    model = build(replace(CONFIG, **change), sequence)
    left, right = torch.randint(11, (rows,)), torch.randint(11, (rows,))
    answers = torch.randint(11, (rows,))
    result = {}
    for name, logits in {"ours": model(left, right), "plain": plain(model, left, right)}.items():
        model.zero_grad()
        functional.cross_entropy(logits, answers).backward()
        result[name] = [logits, *(p.grad.clone() for p in model.parameters() if p.grad is not None)]
    for ours, other in zip(result["ours"], result["plain"], strict=True):
        torch.testing.assert_close(ours, other, rtol=1e-9, atol=1e-11)


def test_the_published_model_has_its_published_number_of_parameters() -> None:
    model = Transformer(PUBLISHED, ["eos", "a", "o", "b", "="], 97, 239)
    count = sum(p.numel() for p in model.parameters())
    outside = sum(p.numel() for p in [*model.embedding.parameters(), *model.output.parameters()])
    assert (count, count - outside) == (455_424, 394_240)


@pytest.mark.parametrize("place", ["attention", "residual", "hidden"])
def test_dropout_draws_a_mask_for_every_row_and_none_in_evaluation(place: str) -> None:
    model = build(replace(CONFIG, **{f"dropout_{place}": 0.5}))
    left, right = torch.full((64,), 3), torch.full((64,), 4)  # 64 times the same row
    assert len(model(left, right).detach().round(decimals=9).unique(dim=0)) > 32
    model.eval()
    assert len(model(left, right).detach().round(decimals=9).unique(dim=0)) == 1
    torch.testing.assert_close(model(left, right), plain(model, left, right))


def test_a_tied_output_is_the_embedding_and_spare_tokens_fit() -> None:
    model = build(replace(CONFIG, tied=True), vocabulary=20)
    assert model.output.weight is model.embedding.weight
    assert model(torch.tensor([1]), torch.tensor([2])).shape == (1, 20)
    with pytest.raises(
        ConfigError, match=r"data.vocabulary: found 12, expected null or at least 13"
    ):
        build(CONFIG, vocabulary=12)


def test_normal_init_has_the_published_scales() -> None:
    torch.manual_seed(0)
    config = replace(
        PUBLISHED, init="normal", biases="feedforward", positions="learned", norm="none"
    )
    model = Transformer(config, ["a", "b", "="], 113, None)
    assert model.output.weight.std().item() == pytest.approx(114**-0.5, rel=0.05)
    for matrix in (
        model.embedding.weight,
        model.blocks[0].qkv.weight,
        model.blocks[0].feedforward_out.weight,
    ):
        assert matrix.std().item() == pytest.approx(128**-0.5, rel=0.05)
    assert model.blocks[0].feedforward_in.bias.abs().max().item() == 0


def test_xavier_attention_begins_as_multihead_attention_of_torch_does() -> None:
    torch.manual_seed(0)
    config = replace(PUBLISHED, biases="all", attention_init="xavier")
    model = Transformer(config, ["a", "o", "b", "="], 97, None)
    theirs = torch.nn.MultiheadAttention(config.width, config.heads)
    for block in model.blocks:
        limit = theirs.in_proj_weight.abs().max().item()
        assert block.qkv.weight.abs().max().item() == pytest.approx(limit, rel=1e-3)
        assert block.qkv.weight.std().item() == pytest.approx(limit / 3**0.5, rel=0.01)
        assert block.qkv.bias.abs().max().item() == 0
        assert block.attention_out.bias.abs().max().item() == 0
        assert block.feedforward_in.bias.abs().max().item() > 0
    assert torch.equal(theirs.in_proj_bias, torch.zeros(384))
