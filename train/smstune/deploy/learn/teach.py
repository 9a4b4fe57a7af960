"""Adds reported messages to a run's memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from smstune.arrays import Flags, Ints
from smstune.campaigns.sketch import TextSketches, sketch_texts
from smstune.config.schema import MemoryConfig
from smstune.deploy.learn.bound import upper_bound
from smstune.deploy.learn.linked import linked
from smstune.deploy.learn.reference import Reference
from smstune.errors import UserError
from smstune.inference.labels import LabelMap
from smstune.inference.manifest import TextOptions
from smstune.inference.memory.entries import ACTIONS, Entry, FalseAlarms
from smstune.inference.memory.folder import MEMORY
from smstune.inference.memory.index import empty_index, only_texts
from smstune.inference.memory.reports import Outcome, Report
from smstune.inference.memory.store import (
    Generation,
    empty_generation,
    open_generation,
    write_generation,
    writer_lock,
)
from smstune.language import Message
from smstune.tables.times import CHINA
from smstune.text.normalize import MAX_CHARACTERS

#: No entry yet.
_NEW = np.iinfo(np.int64).max


@dataclass(frozen=True)
class _Campaigns:
    """Reports in campaigns, which are numbered from 0, and what the memory has of them.

    ``of_reports`` has the campaign of each report, ``is_fresh`` whether the memory lacks its
    message. ``entries`` has the number of each campaign's entry, ``_NEW`` without one.
    """

    sketches: TextSketches
    of_reports: Ints
    is_fresh: Flags
    entries: Ints

    def reports(self) -> list[Ints]:
        """Return the positions of each campaign's reports."""
        order = np.argsort(self.of_reports, kind="stable")
        return np.split(order, np.flatnonzero(np.diff(self.of_reports[order])) + 1)


@dataclass(frozen=True)
class Teacher:
    """Adds reports to the memory of the run in ``folder``.

    ``reference`` is ``None`` where there is nothing to measure false alarms on.
    """

    folder: Path
    text: TextOptions
    labels: LabelMap
    section: MemoryConfig
    reference: Reference | None

    def teach(self, reports: Sequence[Report], *, force: bool = False) -> list[Outcome]:
        """Add the reports, write the next generation, return what became of each campaign.

        Near-duplicates of one label and action are one campaign. Those of a remembered campaign
        are added to it and replace its reason, end and reporter. A campaign that matches too many
        messages of other labels is not remembered unless ``force``.

        Raises:
            UserError: if the memory is broken, or was begun with another similarity.
        """
        texts = remembered_texts([report.text for report in reports], self.text)
        sketches = sketch_texts(texts, threshold=self.section.similarity)
        with writer_lock(self.folder):
            generation = self.generation()
            campaigns = self._campaigns(generation, sketches, reports)
            outcomes = self._outcomes(generation, campaigns, reports, force=force)
            if any(outcome.refusal is None for outcome in outcomes):
                write_generation(self.folder, _extended(generation, campaigns, outcomes))
        return outcomes

    def generation(self) -> Generation:
        """Return the memory as it is, an empty one if nothing was learned.

        Raises:
            UserError: if the memory is broken, or was begun with another similarity.
        """
        similarity = self.section.similarity
        n_bands = len(sketch_texts([], threshold=similarity).keys)
        generation = open_generation(self.folder) or empty_generation(similarity, n_bands)
        if generation.similarity != similarity:
            raise UserError(
                "{memory} was begun with memory.similarity={begun}, and config.yaml of the run has "
                "{similarity}: set it to {begun}, or delete the folder and learn the reports again",
                memory=self.folder / MEMORY,
                begun=generation.similarity,
                similarity=similarity,
            )
        return generation

    def _campaigns(
        self, generation: Generation, sketches: TextSketches, reports: Sequence[Report]
    ) -> _Campaigns:
        kinds = self._kinds([(report.label, ACTIONS.index(report.action)) for report in reports])
        index = empty_index(len(sketches.keys)).with_messages(sketches)
        pairs = index.pairs(sketches, generation.similarity)
        alike = kinds[pairs.messages] == kinds[pairs.known]
        firsts = linked(len(reports), pairs.messages[alike], pairs.known[alike])
        # The first report of each message in its campaign.
        identities = np.stack([firsts.astype(np.uint64), sketches.digests])
        _, first_copies = np.unique(identities, axis=1, return_index=True)
        is_fresh = np.zeros(len(reports), dtype=np.bool_)
        is_fresh[first_copies] = True
        _, of_reports = np.unique(firsts, return_inverse=True)

        entry_kinds = self._kinds(
            [
                (generation.labels[label_id], action_id)
                for label_id, action_id in zip(
                    generation.label_ids.tolist(), generation.action_ids.tolist(), strict=True
                )
            ]
        )
        remembered = generation.index.pairs(sketches, generation.similarity)
        numbers = generation.campaigns[remembered.known].astype(np.int64)
        alike = entry_kinds[numbers] == kinds[remembered.messages]
        entries = np.full(int(of_reports.max()) + 1, _NEW, dtype=np.int64)
        np.minimum.at(entries, of_reports[remembered.messages[alike]], numbers[alike])
        # Equal sets of 3-grams find the same messages.
        entry_of_pair = entries[of_reports[remembered.messages]]
        is_known = (remembered.similarities == 1) & (entry_of_pair == numbers)
        is_fresh[remembered.messages[is_known]] = False
        return _Campaigns(sketches, of_reports, is_fresh, entries)

    def _kinds(self, labels_and_actions: Sequence[tuple[str, int]]) -> Ints:
        """Return label and action as one number."""
        label_ids = self.labels.label2id
        kinds = [label_ids[label] * len(ACTIONS) + action for label, action in labels_and_actions]
        return np.array(kinds, dtype=np.int64)

    def _outcomes(
        self,
        generation: Generation,
        campaigns: _Campaigns,
        reports: Sequence[Report],
        *,
        force: bool,
    ) -> list[Outcome]:
        now = datetime.now(CHINA).isoformat(timespec="seconds")
        false_alarms = self._false_alarms(campaigns, reports)
        next_id = generation.next_id
        outcomes = []
        for campaign, positions in enumerate(campaigns.reports()):
            number = int(campaigns.entries[campaign])
            before = None if number == _NEW else generation.entry(number)
            n_fresh = int(campaigns.is_fresh[positions].sum())
            alarms = _added(before, false_alarms[campaign] if n_fresh else None, n_fresh)
            refusal = None if force or not n_fresh else self._refusal(alarms)
            latest = reports[int(positions[-1])]
            entry = Entry(
                id=before.id if before else 0 if refusal else next_id,
                label=latest.label,
                action=latest.action,
                reason=latest.reason,
                until=latest.until,
                reporter=latest.reporter,
                first=before.first if before else now,
                last=now,
                messages=(before.messages if before else 0) + n_fresh,
                false_alarms=alarms,
            )
            next_id += entry.id == next_id
            outcomes.append(Outcome(entry, tuple(positions.tolist()), n_fresh, refusal))
        return outcomes

    def _false_alarms(
        self, campaigns: _Campaigns, reports: Sequence[Report]
    ) -> Sequence[FalseAlarms | None]:
        n_campaigns = len(campaigns.entries)
        if self.reference is None:
            return [None] * n_campaigns
        fresh = only_texts(campaigns.sketches, campaigns.is_fresh)
        index = empty_index(len(fresh.keys)).with_messages(fresh)
        pairs = index.pairs(self.reference.sketches, self.section.similarity)
        of_messages = campaigns.of_reports[campaigns.is_fresh]
        label_ids = np.empty(n_campaigns, dtype=np.int64)
        label_ids[campaigns.of_reports] = [self.labels.label2id[r.label] for r in reports]
        return self.reference.false_alarms(pairs, of_messages[pairs.known], label_ids)

    def _refusal(self, alarms: FalseAlarms | None) -> Message | None:
        if alarms is None:
            return Message("nothing to measure its false alarms on")
        limit = self.section.max_false_positive_rate
        if alarms.bound <= limit:
            return None
        return Message(
            "it matches {n_campaigns} of {n_others} campaigns of other labels, which may be "
            "{bound:.2%} of all, above max_false_positive_rate {limit:.2%}",
            n_campaigns=alarms.campaigns,
            n_others=alarms.of_campaigns,
            bound=alarms.bound,
            limit=limit,
        )


def remembered_texts(texts: Sequence[str], options: TextOptions) -> list[str]:
    """Return raw messages as a memory has them."""
    return [options.masked(options.preprocess(text[:MAX_CHARACTERS])) for text in texts]


def forget(folder: Path, entry_id: int) -> Entry:
    """Delete an entry from the memory of the run in ``folder``, and return it.

    Raises:
        UserError: if there is none of this id, or the memory is broken.
    """
    with writer_lock(folder):
        generation = open_generation(folder)
        entries = list(generation.entries()) if generation else []
        kept = [number for number, entry in enumerate(entries) if entry.id != entry_id]
        if generation is None or len(kept) == len(entries):
            raise UserError(
                "{memory} has no campaign {id}: see `smstune learn RUN --list`",
                memory=folder / MEMORY,
                id=entry_id,
            )
        write_generation(folder, generation.only(kept))
    (entry,) = (entry for entry in entries if entry.id == entry_id)
    return entry


def _added(before: Entry | None, alarms: FalseAlarms | None, n_fresh: int) -> FalseAlarms | None:
    """Return an entry's false alarms with those of its new messages.

    A campaign that both match counts twice: the sum is never too small.
    """
    if before is None:
        return alarms
    if not n_fresh or before.false_alarms is None or alarms is None:
        return before.false_alarms if not n_fresh else None
    n_campaigns = min(before.false_alarms.campaigns + alarms.campaigns, alarms.of_campaigns)
    return alarms.model_copy(
        update={
            "messages": min(before.false_alarms.messages + alarms.messages, alarms.of_messages),
            "campaigns": n_campaigns,
            "bound": upper_bound(n_campaigns, alarms.of_campaigns),
        }
    )


def _extended(
    generation: Generation, campaigns: _Campaigns, outcomes: Sequence[Outcome]
) -> Generation:
    """Return the generation with what was not refused."""
    numbers = campaigns.entries.copy()
    is_accepted = np.array([outcome.refusal is None for outcome in outcomes])
    is_new = is_accepted & (numbers == _NEW)
    numbers[is_new] = len(generation.lines) + np.arange(is_new.sum())
    entries: Mapping[int, Entry] = {
        int(numbers[campaign]): outcome.entry
        for campaign, outcome in enumerate(outcomes)
        if outcome.refusal is None
    }
    stored = campaigns.is_fresh & is_accepted[campaigns.of_reports]
    index = generation.index.with_messages(only_texts(campaigns.sketches, stored))
    of_messages = numbers[campaigns.of_reports[stored]].astype(np.int32)
    return generation.with_entries(
        entries, index, np.concatenate([generation.campaigns, of_messages])
    )
