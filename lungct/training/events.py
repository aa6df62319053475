"""The metrics of a run as TensorBoard's events, where they are asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from lungct.extras import extra

FOLDER = "tensorboard"
AddRow = Callable[[Mapping[str, float]], None]


def check_tensorboard() -> None:
    """Find out before a run whether it can be written.

    Raises:
        EnvironmentError_: TensorBoard is not installed.
    """
    extra("tensorboard", name="tensorboard", wanted_by="--tensorboard")


@contextlib.contextmanager
def events(folder: Path | None, *, epochs_done: int) -> Iterator[AddRow]:
    """Yields what writes an epoch's row; ``folder`` None writes nothing.

    Events of epochs after ``epochs_done``, which a killed run had written and a resumed one repeats, are left out by
    TensorBoard.
    """
    if folder is None:
        yield lambda row: None
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder / FOLDER), purge_step=epochs_done + 1) as writer:

        def add(row: Mapping[str, float]) -> None:
            for name, value in row.items():
                if name != "epoch":
                    group = "validation" if name.startswith("val_") else "training"
                    writer.add_scalar(f"{group}/{name}", value, int(row["epoch"]))
            writer.flush()

        yield add
