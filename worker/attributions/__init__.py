"""Attributions, one method per file: how much each number of a row adds to one output.

`attribute(forward, row, empty, points)` explains `row` (1, ...) against `empty`, a row that says
nothing: `forward` gives the output of several such rows (P, ...) -> (P,), at most `points` of them
at once. The answer has the shape of `row`.
"""

from collections.abc import Callable

from torch import Tensor

Forward = Callable[[Tensor], Tensor]
Attribute = Callable[[Forward, Tensor, Tensor, int], Tensor]
