"""Looks messages up in a generation of the memory."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from smstune.campaigns.sketch import sketch_texts
from smstune.errors import UserError
from smstune.inference.label_names import list_names
from smstune.inference.labels import LabelMap
from smstune.inference.memory.entries import KnownCampaign
from smstune.inference.memory.folder import MEMORY, MEMORY_MANIFEST
from smstune.inference.memory.store import Generation, generation_files, open_generation


class Memory:
    """One generation of a run's memory, held until the object is dropped."""

    def __init__(self, generation: Generation) -> None:
        self.generation = generation

    @property
    def file_names(self) -> tuple[str, ...]:
        """The files of the generation in the folder of the memory."""
        return (MEMORY_MANIFEST, *generation_files(self.generation.number))

    def look_up(self, texts: Sequence[str]) -> list[KnownCampaign | None]:
        """Return the remembered campaign of each preprocessed and masked text, if it has one.

        Of several, one that allows goes before one that blocks, and both before one that only has
        a label; then the most similar counts, then the latest. Expired entries are ignored.
        """
        distinct = list(dict.fromkeys(texts))
        generation = self.generation
        pairs = generation.index.pairs(
            sketch_texts(distinct, threshold=generation.similarity), generation.similarity
        )
        numbers = generation.campaigns[pairs.known]
        in_force = np.flatnonzero(generation.until[numbers] > time.time())
        messages, numbers = pairs.messages[in_force], numbers[in_force]
        similarities = pairs.similarities[in_force]
        order = np.lexsort((-numbers, -similarities, generation.action_ids[numbers], messages))
        matched, first = np.unique(messages[order], return_index=True)
        campaigns = {
            distinct[message]: self._campaign(number, similarity)
            for message, number, similarity in zip(
                matched.tolist(),
                numbers[order[first]].tolist(),
                similarities[order[first]].tolist(),
                strict=True,
            )
        }
        return [campaigns.get(text) for text in texts]

    def _campaign(self, number: int, similarity: float) -> KnownCampaign:
        entry = self.generation.entry(number)
        return KnownCampaign(
            id=entry.id,
            label=entry.label,
            action=entry.action,
            first=entry.first[:10],
            similarity=round(similarity, 4),
            reason=entry.reason,
        )


def open_memory(run: Path, labels: LabelMap) -> Memory | None:
    """Return the memory of a run, ``None`` if it has none; ``labels`` are the run's.

    Raises:
        UserError: if it is broken, or of a run with other labels.
    """
    generation = open_generation(run)
    if generation is None:
        return None
    foreign = [name for name in generation.labels if name not in labels.names]
    if foreign:
        raise UserError(
            "{folder} has the labels {foreign}, which the run does not have: delete the folder and "
            "learn the reports again",
            folder=run / MEMORY,
            foreign=list_names(foreign),
        )
    return Memory(generation)
