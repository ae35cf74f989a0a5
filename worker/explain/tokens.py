"""Attributions of tokens. T tokens of a row, E numbers per embedded token, V distinct tokens."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from worker.data.text import TokensInput
from worker.engine.errors import UserError
from worker.explain.view import Question, Shown, rank, tidy

SUMMARY = 100
FIRST = 2  # token number of the first of the vocabulary


class TokensView:
    empty = "as many tokens, each embedded as zeros"

    def __init__(self, model: nn.Module, column: TokensInput) -> None:
        self.model, self.column = model, column
        self.rows = 0
        self.sizes = torch.zeros(FIRST + len(column.vocabulary), dtype=torch.float64)

    def ask(self, row: Tensor) -> Question:
        """What fills up the row is left out: no output depends on it."""
        embedding = find_embedding(self.model)
        tokens = cut(row)
        with torch.no_grad():
            embedded = embedding(tokens)  # (1, T, E)
        forward = begin_at_embedding(self.model, embedding, tokens)
        return Question(forward, embedded, torch.zeros_like(embedded))

    def show(self, row: Tensor, attributions: Tensor) -> Shown:
        tokens, parts = cut(row)[0].cpu(), attributions[0].double().sum(1).cpu()  # (T,)
        self.rows += 1
        self.sizes.index_add_(0, tokens, parts.abs())
        pairs = zip(tokens.tolist(), parts.tolist(), strict=True)
        shown = [{"token": self.name(token), "attribution": tidy(part)} for token, part in pairs]
        return Shown({"tokens": shown})

    def summarise(self) -> dict[str, list[dict[str, Any]]]:
        """The size of attributions per row, of a token that occurs twice the sum."""
        return {
            "tokens": [
                {"token": self.name(token), "mean_absolute": tidy(size / self.rows)}
                for token in rank(self.sizes, SUMMARY)
                for size in [self.sizes[token].item()]
            ]
        }

    def name(self, token: int) -> str | None:
        """None: no token of the training rows."""
        return self.column.vocabulary[token - FIRST] if token >= FIRST else None


def cut(row: Tensor) -> Tensor:
    """(1, T) without the zeros that fill it up."""
    return row[:, : max(1, int(row.count_nonzero()))]


def find_embedding(model: nn.Module) -> nn.Embedding:
    embedding = getattr(model, "embedding", None)
    if not isinstance(embedding, nn.Embedding):
        raise UserError(
            "This family embeds no tokens that could be explained.",
            hint="Leave evaluation.explanations out.",
        )
    return embedding


def begin_at_embedding(
    model: nn.Module, embedding: nn.Embedding, tokens: Tensor
) -> Callable[[Tensor], Tensor]:
    """The model as a function of embedded tokens (P, T, E) instead of `tokens` (1, T)."""

    def forward(embedded: Tensor) -> Tensor:
        hook = embedding.register_forward_hook(lambda *_: embedded)
        try:
            outputs: Tensor = model(tokens.expand(len(embedded), -1))  # (P, O)
        finally:
            hook.remove()
        return outputs

    return forward
