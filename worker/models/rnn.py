"""A recurrent network over tokens or steps. B rows, T tokens or steps of the longest row, D numbers
per step, E numbers per embedded token, H hidden units (of both directions), O outputs.

A token 0, or a step of NaN, fills up a row that is shorter than others; no output depends on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

if TYPE_CHECKING:
    from app.specs.models import RNNSpec

CELLS: dict[str, type[nn.RNN | nn.LSTM | nn.GRU]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


def embed(tokens: int, width: int) -> nn.Embedding:
    """Small numbers at first: rare words then add little noise. torch's own start has a deviation
    of 1, which training hardly moves."""
    embedding = nn.Embedding(tokens, width, padding_idx=0)
    nn.init.normal_(embedding.weight, std=0.1)
    with torch.no_grad():
        embedding.weight[0] = 0.0
    return embedding


class RNN(nn.Module):
    def __init__(self, spec: RNNSpec, inputs: int, outputs: int) -> None:
        super().__init__()
        self.pool = spec.pool
        self.embedding = None
        width = inputs
        if spec.over == "tokens":
            width = spec.embedding
            self.embedding = embed(inputs, width)
        # One module per layer: dropout between them is then torch's own, which can be resumed.
        self.layers = nn.ModuleList()
        for _ in range(spec.layers):
            self.layers.append(
                CELLS[spec.cell](
                    width, spec.hidden, batch_first=True, bidirectional=spec.bidirectional
                )
            )
            width = spec.hidden * (1 + spec.bidirectional)
        self.dropout = nn.Dropout(spec.dropout)
        self.output = nn.Linear(width, outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        if self.embedding is not None:
            filled = inputs == 0  # (B, T)
            x = self.dropout(self.embedding(inputs))  # (B, T, E)
        else:
            filled = inputs[:, :, 0].isnan()
            x = inputs.nan_to_num()  # (B, T, D)
        lengths = (~filled).sum(1).clamp(min=1)  # (B,)
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        for number, layer in enumerate(self.layers):
            if number:
                packed = packed._replace(data=self.dropout(packed.data))
            packed, last = layer(packed)
        summary = self.summarise(packed, last, lengths)
        outputs: Tensor = self.output(self.dropout(summary))  # (B, O)
        return outputs

    def summarise(
        self, packed: nn.utils.rnn.PackedSequence, last: Tensor, lengths: Tensor
    ) -> Tensor:
        """(B, H): the state after the last token, of each direction, or over all tokens."""
        if self.pool == "last":
            state = last[0] if isinstance(last, tuple) else last  # (directions, B, H)
            return torch.cat(tuple(state), 1)
        lowest = -torch.inf if self.pool == "max" else 0.0
        states, _ = pad_packed_sequence(packed, batch_first=True, padding_value=lowest)  # (B, T, H)
        if self.pool == "max":
            return states.amax(1)
        return states.sum(1) / lengths[:, None]


def build(spec: RNNSpec, inputs: tuple[int], outputs: int) -> nn.Module:
    return RNN(spec, inputs[0], outputs)
