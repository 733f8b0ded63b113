"""Event files of TensorBoard, written by its own writer: `tensorboard --logdir runs` shows them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter


class Tensorboard:
    """One event file for each fit; a resumed fit begins another one, and TensorBoard joins them."""

    def __init__(self, folder: Path) -> None:
        self._writer = EventFileWriter(str(folder))

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Scalars."""
        values = [Summary.Value(tag=name, simple_value=value) for name, value in figures.items()]
        self._writer.add_event(Event(step=step, summary=Summary(value=values)))

    def close(self) -> None:
        """Flushed and closed."""
        self._writer.close()
