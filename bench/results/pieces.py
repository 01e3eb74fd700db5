"""The pieces of a training: which process trained which steps of a run, where and with which kernels."""

from __future__ import annotations

import itertools
from typing import NamedTuple

from bench.results.record import Piece, Provenance, RunRecord


class TrainedPiece(NamedTuple):
    """The steps of a run that one process trained. What was not recorded is None.

    Attributes:
        from_step: optimisation steps done when the process began.
        to_step: the last of its steps that counts: the next process repeats what was not saved. None for the
            last piece of a run that diverged.
        piece: the record of the process.
    """

    from_step: int | None
    to_step: int | None
    piece: Piece


def trained_pieces(result: RunRecord) -> list[TrainedPiece]:
    """The pieces of a run's training, in order.

    The process that stored the result is described by the provenance too, so its piece is complete in older
    results. Of the processes before it, the oldest results state nothing: they have a single piece, whose
    first step is known only if training was never resumed.
    """
    origin, end = result.provenance, result.last_step if result.finished else None
    last = _of_last_process(origin)
    if not origin.pieces:
        return [TrainedPiece(0 if origin.resumptions == 0 else None, end, last)]
    *earlier, stored = origin.pieces
    if stored.kernels is None:
        stored = last.model_copy(update={"from_step": stored.from_step})
    pieces = [*earlier, stored]
    ends = [piece.from_step for piece in pieces[1:]]
    return [
        TrainedPiece(piece.from_step, to_step, piece)
        for piece, to_step in zip(pieces, itertools.chain(ends, [end]), strict=True)
    ]


def _of_last_process(origin: Provenance) -> Piece:
    """The piece of the process that stored the result, without its first step."""
    packages = origin.packages or {}
    return Piece(
        from_step=0,
        device=origin.device,
        host=origin.host,
        commit=origin.commit,
        dirty=origin.dirty,
        source=origin.source,
        cuda=origin.cuda,
        torch=packages.get("torch"),
        triton=packages.get("triton"),
        kernels=origin.scan,
        captured=origin.captured,
        processes=origin.processes,
        members=origin.stack.members if origin.stack else None,
    )
