"""Rows ready for a model, of which any may be taken at any time: a tensor, a sparse matrix, or
sequences, which are filled up to the longest of a batch only when it is their turn, or rows in a
mapped file."""

import torch
from torch import Tensor

from worker.data.mapped import MappedRows, MappedTokens
from worker.data.sequence import Sequences


class SparseRows:
    """Compressed rows (N, F). torch can multiply such a matrix, but cannot take rows out of it."""

    def __init__(self, matrix: Tensor) -> None:
        self.starts, self.columns = matrix.crow_indices(), matrix.col_indices()  # (N + 1,), (Z,)
        self.cells, self.shape = matrix.values(), matrix.shape  # (Z,)

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def device(self) -> torch.device:
        return self.cells.device

    @property
    def row_bytes(self) -> int:
        """Of a usual row."""
        return 8 + 12 * len(self.cells) // max(1, len(self))

    def to(self, device: torch.device) -> "SparseRows":
        return SparseRows(self.view(0, len(self)).to(device))

    def view(self, first: int, last: int) -> Tensor:
        starts = self.starts[first : last + 1]
        inside = slice(int(starts[0]), int(starts[-1]))
        return build(starts - starts[0], self.columns[inside], self.cells[inside], self.shape[1])

    def split(self, size: int) -> tuple[Tensor, ...]:
        return tuple(
            self.view(first, min(first + size, len(self))) for first in range(0, len(self), size)
        )

    def index_select(self, _dim: int, rows: Tensor) -> "SparseRows":
        counts = self.starts.diff()[rows]
        starts = torch.zeros(len(rows) + 1, dtype=torch.long, device=self.device)
        starts[1:] = counts.cumsum(0)
        shift = (self.starts[rows] - starts[:-1]).repeat_interleave(counts)
        places = torch.arange(len(shift), device=self.device) + shift
        return SparseRows(build(starts, self.columns[places], self.cells[places], self.shape[1]))


def build(starts: Tensor, columns: Tensor, cells: Tensor, width: int) -> Tensor:
    size = (len(starts) - 1, width)
    return torch.sparse_csr_tensor(starts, columns, cells, size, check_invariants=False)


LEAST_EMBEDDING = 8  # numbers of a token
HeldRows = Tensor | SparseRows | Sequences
Rows = HeldRows | MappedRows


def hold_rows(inputs: Tensor) -> HeldRows:
    return SparseRows(inputs) if inputs.layout == torch.sparse_csr else inputs


def measure_row(rows: HeldRows) -> int:
    """Bytes of one row."""
    return rows[0].nbytes if isinstance(rows, Tensor) else rows.row_bytes


def count_numbers(rows: Rows) -> int:
    """What a model holds of one row at once, in numbers."""
    if isinstance(rows, MappedTokens):
        return LEAST_EMBEDDING * rows.longest
    return rows[:1].numel() if isinstance(rows, Tensor) else rows.row_bytes // 4
