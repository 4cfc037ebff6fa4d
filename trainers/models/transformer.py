"""Decoder-only transformer for tables of a binary operation: it reads "a o b =" and answers at the
last position.

A causal model repeats work on such sequences: positions before `a` are the same in all rows of a
batch, and positions before `b` depend only on `a`. The former are computed once per batch and the
latter once per element; the first layer's queries, keys and values are computed once per token and
position; and after the last attention only the answer's position is computed. Dropout draws a mask
for every row, so with dropout only the last two apply.

Shape suffixes: b rows of the batch, e elements of the operation, d width, h heads, c channels of a
head, r rows of the residual stream, t rows of the token table, g rows of one group, q positions of
queries, k positions of keys.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from trainers.config import ConfigError
from trainers.config import Transformer as Config
from trainers.models.linear import Linear, linear

OPERANDS = ("a", "b")


@dataclass(frozen=True)
class Layout:
    """How the residual stream (r, d) holds the positions of a batch, in three groups one after
    another.

    rows, positions: of the group before `a`, that from `a` to before `b`, and that from `b` to the
    end; a group with fewer rows than the batch stands for several of them. tokens_r: the row of the
    token table that each row of the stream begins with. keys: for each row of a group the rows of
    the stream (g, k) that its last position attends to.
    """

    rows: tuple[int, int, int]
    positions: tuple[int, int, int]
    tokens_r: torch.Tensor
    keys: list[torch.Tensor]

    @property
    def counts(self) -> list[int]:
        """Rows of the stream in each group."""
        return [rows * positions for rows, positions in zip(self.rows, self.positions, strict=True)]

    @property
    def answers(self) -> slice:
        """The rows of the stream at the answer's position."""
        before, length = sum(self.counts[:2]), self.positions[2]
        return slice(before + length - 1, None, length)

    def split(self, x_rd: torch.Tensor) -> list[torch.Tensor]:
        """The stream as one tensor (rows, positions, d) a group."""
        shapes = zip(torch.split(x_rd, self.counts), self.rows, self.positions, strict=True)
        return [x.view(rows, positions, x.shape[1]) for x, rows, positions in shapes]


class Block(nn.Module):
    """Attention and feed-forward network with residual connections and optional norms."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width, hidden = config.width, config.feedforward * config.width
        self.config, self.parts = config, [width, 2 * width]  # queries; keys and values
        self.attention_norm = nn.LayerNorm(width) if config.norm != "none" else nn.Identity()
        self.qkv = Linear(width, 3 * width, bias=config.biases == "all")
        self.attention_out = Linear(width, width, bias=config.biases == "all")
        self.feedforward_norm = nn.LayerNorm(width) if config.norm != "none" else nn.Identity()
        self.feedforward_in = Linear(width, hidden, bias=config.biases != "none")
        self.feedforward_out = Linear(hidden, width, bias=config.biases != "none")

    def init_attention(self) -> None:
        """Initialise queries, keys and values as torch's `nn.MultiheadAttention` does.

        Their joint matrix (3 d, d) has Glorot's uniform distribution (Glorot & Bengio 2010, Eq.
        16); the biases of attention are zero.
        """
        nn.init.xavier_uniform_(self.qkv.weight)
        for layer in (self.qkv, self.attention_out):
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(self, x_rd: torch.Tensor, layout: Layout, first: bool, last: bool) -> torch.Tensor:
        """The stream after this block. The first takes the token table (t, d); the last gives the
        answer's (b, d).
        """
        normed_rd = self.attention_norm(x_rd) if self.config.norm == "pre" else x_rd
        rows = layout.answers if last else slice(None)
        if first:
            tokens_r = layout.tokens_r[rows]
            query_td, keys_rd = torch.split(self.qkv(normed_rd), self.parts, dim=1)
            query_rd = functional.embedding(tokens_r, query_td)
            x_rd = functional.embedding(tokens_r, x_rd)
        elif last:
            query_rd, keys_rd = self._project(normed_rd[rows], 0), self._project(normed_rd, 1)
            x_rd = x_rd[rows]
        else:
            query_rd, keys_rd = torch.split(self.qkv(normed_rd), self.parts, dim=1)
        keys = [layout.tokens_r[rows_gk] for rows_gk in layout.keys] if first else layout.keys
        if last:
            heard_rd = self._attend(query_rd[:, None], functional.embedding(keys[2], keys_rd))
        else:
            heard = []
            for query_gqd, rows_gk in zip(layout.split(query_rd), keys, strict=True):
                if query_gqd.numel():
                    heard.append(self._attend(query_gqd, functional.embedding(rows_gk, keys_rd)))
            heard_rd = torch.cat(heard)
        x_rd = self._add(x_rd, self.attention_out(heard_rd), self.attention_norm)
        return self._add(x_rd, self._feedforward(x_rd), self.feedforward_norm)

    def _project(self, x_rd: torch.Tensor, part: int) -> torch.Tensor:
        """Only queries (part 0), or only keys and values (part 1)."""
        weight = torch.split(self.qkv.weight, self.parts)[part]
        bias = None if self.qkv.bias is None else torch.split(self.qkv.bias, self.parts)[part]
        return linear(x_rd, weight, bias, self.qkv.library)

    def _attend(self, query_gqd: torch.Tensor, key_gkd: torch.Tensor) -> torch.Tensor:
        """The output of attention for the positions of one group, as rows of a stream (g * q, d).

        `key_gkd` holds keys and values (g, k, 2 d). Written out, because kernels for attention are
        slow for a few positions.
        """
        rows, queries, width = query_gqd.shape
        heads = (self.config.heads, width // self.config.heads)
        parts = (query_gqd, *torch.split(key_gkd, width, dim=-1))
        query_gqhc, key_gkhc, value_gkhc = (x.reshape(rows, -1, *heads) for x in parts)
        scores_gqkh = (query_gqhc[:, :, None] * key_gkhc[:, None]).sum(-1) * heads[1] ** -0.5
        if queries > 1:
            length = key_gkd.shape[1]
            all_qk = torch.ones(queries, length, dtype=torch.bool, device=query_gqd.device)
            later_qk = all_qk.triu(length - queries + 1)
            scores_gqkh = scores_gqkh.masked_fill(later_qk[..., None], -math.inf)
        rate = self.config.dropout_attention
        weights_gqkh = functional.dropout(scores_gqkh.softmax(2), rate, self.training)
        heard: torch.Tensor = (weights_gqkh[..., None] * value_gkhc[:, None]).sum(2)
        return heard.reshape(rows * queries, width)

    def _feedforward(self, x_rd: torch.Tensor) -> torch.Tensor:
        normed_rd = self.feedforward_norm(x_rd) if self.config.norm == "pre" else x_rd
        hidden = self.feedforward_in(normed_rd)
        if self.config.activation == "relu":
            active = functional.relu(hidden, inplace=True)
        else:
            active = functional.gelu(hidden)
        sparse = functional.dropout(active, self.config.dropout_hidden, self.training)
        out: torch.Tensor = self.feedforward_out(sparse)
        return out

    def _add(self, x_rd: torch.Tensor, branch_rd: torch.Tensor, norm: nn.Module) -> torch.Tensor:
        """The residual connection, followed by the norm if the block normalises after it."""
        summed = x_rd + functional.dropout(branch_rd, self.config.dropout_residual, self.training)
        return norm(summed) if self.config.norm == "post" else summed


class Transformer(nn.Module):
    """Decoder-only transformer (Power et al. 2022, Nanda et al. 2023 and others, by its settings).

    `sequence` names the tokens of a row: "a" and "b" are the operands, other names are symbols.
    Elements are tokens 0 to `elements` - 1; then come the symbols in the order of their appearance,
    then tokens that no row has, up to `vocabulary` (None: there are none). Raises ConfigError if
    the vocabulary is too small.
    """

    def __init__(
        self, config: Config, sequence: Sequence[str], elements: int, vocabulary: int | None
    ) -> None:
        super().__init__()
        symbols = [name for name in dict.fromkeys(sequence) if name not in OPERANDS]
        symbol_count = elements + len(symbols)
        if vocabulary is not None and vocabulary < symbol_count:
            raise ConfigError(
                f"data.vocabulary: found {vocabulary}, expected null or at least {symbol_count}, "
                "which are in use"
            )
        self.config, self.elements, self.sequence = config, elements, tuple(sequence)
        self.token = {name: elements + number for number, name in enumerate(symbols)}
        self.embedding = nn.Embedding(vocabulary or symbol_count, config.width)
        self.positions: torch.Tensor | None
        self._add_positions()
        self.starts: torch.Tensor
        self.register_buffer("starts", torch.tensor(self._table_starts()), persistent=False)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width) if config.ends_with_norm else nn.Identity()
        self.output = Linear(config.width, vocabulary or symbol_count, bias=config.biases == "all")
        if config.init == "normal":
            self._init_normal()
        if config.attention_init == "xavier":
            for block in self.blocks:
                assert isinstance(block, Block)
                block.init_attention()
        if config.tied:
            self.output.weight = self.embedding.weight

    def _add_positions(self) -> None:
        """Position embeddings: parameters if learned, else a buffer that is not saved."""
        shape = len(self.sequence), self.config.width
        if self.config.positions == "learned":
            self.positions = nn.Parameter(torch.randn(*shape))
            return
        table = _sinusoidal(*shape) if self.config.positions == "sinusoidal" else None
        self.register_buffer("positions", table, persistent=False)

    def _init_normal(self) -> None:
        """Matrices from N(0, 1 / width), output from N(0, 1 / vocabulary) (Nanda et al. 2023)."""
        for parameter in self.parameters():
            if parameter.dim() == 2:
                rows = len(parameter) if parameter is self.output.weight else self.config.width
                nn.init.normal_(parameter, std=rows**-0.5)
        for module in self.modules():
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(self, left_b: torch.Tensor, right_b: torch.Tensor) -> torch.Tensor:
        """Logits (b, vocabulary) of the answers to rows with the operands `left_b` and `right_b`,
        int64 (b,) both.
        """
        layout = self._layout(left_b, right_b)
        x_rd = self._token_table()
        for number, block in enumerate(self.blocks):
            x_rd = block(x_rd, layout, first=number == 0, last=number == len(self.blocks) - 1)
        logits: torch.Tensor = self.output(self.norm(x_rd))
        return logits

    def _token_table(self) -> torch.Tensor:
        """Embeddings (t, d) of the tokens possible at each position, position by position."""
        table = []
        for position, name in enumerate(self.sequence):
            tokens = slice(0, self.elements)
            if name not in OPERANDS:
                tokens = slice(self.token[name], self.token[name] + 1)
            embedded = self.embedding.weight[tokens]
            if self.positions is not None:
                embedded = embedded + self.positions[position]
            table.append(embedded)
        return torch.cat(table)

    def _table_starts(self) -> list[int]:
        """The row of the token table at which each position begins, and the number of rows."""
        sizes = [self.elements if name in OPERANDS else 1 for name in self.sequence]
        return list(itertools.accumulate(sizes, initial=0))

    def _layout(self, left_b: torch.Tensor, right_b: torch.Tensor) -> Layout:
        batch, elements, to = len(left_b), self.elements, left_b.device
        per_example = self.training and self.config.drops
        shared = elements < batch and not per_example
        left_of_rows = torch.arange(elements, device=to) if shared else left_b
        a, b = self.sequence.index("a"), self.sequence.index("b")
        rows = (batch if per_example else 1, len(left_of_rows), batch)
        positions = (a, b - a, len(self.sequence) - b)
        tokens: list[torch.Tensor] = []
        stream_rows: list[torch.Tensor] = []  # of the positions of each group
        for group, first in enumerate((0, a, b)):
            columns = self.starts[first : first + positions[group]].expand(rows[group], -1)
            if group:
                operand = left_of_rows if group == 1 else right_b
                columns = torch.cat([columns[:, :1] + operand[:, None], columns[:, 1:]], dim=1)
            before = sum(len(rows_r) for rows_r in tokens)
            tokens.append(columns.flatten())
            numbers = torch.arange(before, before + columns.numel(), device=to)
            stream_rows.append(numbers.view(columns.shape))
        before_a, from_a, from_b = stream_rows
        before_b = torch.cat([before_a.expand(rows[1], -1), from_a], dim=1)
        all_keys = torch.cat([before_b[left_b] if shared else before_b, from_b], dim=1)
        return Layout(rows, positions, torch.cat(tokens), [before_a, before_b, all_keys])


def _sinusoidal(length: int, width: int) -> torch.Tensor:
    """Fixed positions (length, width): alternating sines and cosines (Vaswani et al. 2017)."""
    rate_k = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000.0) / width))
    angle_nk = torch.arange(length)[:, None] * rate_k
    return torch.stack([angle_nk.sin(), angle_nk.cos()], dim=2).flatten(1)[:, :width]


class OnPairs(Transformer):
    """A transformer on both operands as one tensor, as measures give inputs to every network."""

    def forward(self, pairs_b211: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """Logits (b, vocabulary) for operands (b, 2, 1, 1), whole numbers of any type."""
        left_b, right_b = pairs_b211.flatten(1).long().unbind(1)
        return super().forward(left_b, right_b)
