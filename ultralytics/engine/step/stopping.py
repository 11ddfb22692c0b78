"""Early stopping."""

from __future__ import annotations

import math

from ultralytics.utils.log import LOGGER
from ultralytics.utils.text import counted


class EarlyStopping:
    """Stop when the fitness has not risen for `patience` epochs (0: never)."""

    def __init__(self, patience: int = 100) -> None:
        self.patience = patience
        self.best_fitness = -math.inf
        self.best_epoch = 0
        self.possible_stop = False  # the next epoch may be the last

    def __call__(self, epoch: int, fitness: float | None) -> bool:
        """Take an epoch's fitness (None: not validated) and return True when it is time to stop.

        An equal fitness counts as progress.
        """
        if fitness is None:
            return False
        if fitness >= self.best_fitness:
            self.best_epoch, self.best_fitness = epoch, fitness
        stop = bool(self.patience) and epoch - self.best_epoch >= self.patience
        self.possible_stop = bool(self.patience) and epoch - self.best_epoch >= self.patience - 1
        if stop:
            LOGGER.info(
                "No progress in the last %s: stopping. The best epoch was %d (patience=0 switches this off).",
                counted(self.patience, "epoch"),
                self.best_epoch + 1,
            )
        return stop
