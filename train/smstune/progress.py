"""Progress of a stage: a bar on a terminal, log lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from smstune.language import Message, joined, translated

if TYPE_CHECKING:
    from tqdm import tqdm

Element = TypeVar("Element")

#: Seconds between two log lines of one stage.
_PLAIN_INTERVAL = 30.0
#: The usual unit.
MESSAGES = Message("messages")
#: Formats of tqdm.
_BAR = Message("{desc}: {n_fmt}/{total_fmt}{unit}, {rate_noinv_fmt}, {remaining} left{postfix}")
_BAR_WITHOUT_TOTAL = "{desc}: {n_fmt}{unit}, {rate_noinv_fmt}{postfix}"

logger = logging.getLogger(__name__)


class Progress:
    """Shows the progress of a stage on stderr; ``total`` is the number of its units, if known.

    Units that an earlier run completed (``already``) do not count for the rate.

    A terminal shows one line with rate and remaining time. Elsewhere a line is logged every half
    minute and at the end. With ``--quiet`` neither appears.
    """

    def __init__(
        self,
        stage: str,
        total: int | None = None,
        unit: str = MESSAGES,
        *,
        already: int = 0,
    ) -> None:
        self.stage, self.total, self.unit = stage, total, unit
        self.done = self._already = already
        self.note = ""
        self._bar: tqdm[Any] | None = None
        self._started = self._last = time.monotonic()

    def __enter__(self) -> Self:
        self._started = self._last = time.monotonic()
        if sys.stderr.isatty() and logger.isEnabledFor(logging.INFO):
            # Importing takes some hundredths of a second, which not every command needs.
            from tqdm import tqdm

            self._bar = tqdm(
                desc=translated(self.stage),
                total=self.total,
                initial=self._already,
                unit=f" {translated(self.unit)}",
                bar_format=translated(_BAR) if self.total else _BAR_WITHOUT_TOTAL,
                leave=False,
                dynamic_ncols=True,
                file=sys.stderr,
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        if kind is None:
            logger.info(
                "%s: %s %s in %s",
                self.stage,
                f"{self.done:,}",
                self.unit,
                _duration(self._seconds()),
            )

    def update(self, done: int = 1) -> None:
        """Count ``done`` more units."""
        self.done += done
        if self._bar is not None:
            self._bar.update(done)
        elif time.monotonic() - self._last >= _PLAIN_INTERVAL:
            self._last = time.monotonic()
            logger.info("%s: %s", self.stage, joined(self._phrases(), ", "))

    def say(self, note: str) -> None:
        """Show ``note``, such as the current loss, after the numbers."""
        self.note = note
        if self._bar is not None:
            self._bar.set_postfix_str(translated(note), refresh=False)

    def _seconds(self) -> float:
        return max(time.monotonic() - self._started, 1e-9)

    def _phrases(self) -> list[str]:
        rate = (self.done - self._already) / self._seconds()
        done = Message("{done:,} {unit}", done=self.done, unit=self.unit)
        speed = Message("{rate:,.1f} {unit}/s", rate=rate, unit=self.unit)
        note = [self.note] if self.note else []
        if not self.total:
            return [done, speed, *note]
        done = Message(
            "{done:,} of {total:,} {unit}", done=self.done, total=self.total, unit=self.unit
        )
        left = max(self.total - self.done, 0) / rate if rate else 0.0
        return [done, speed, Message("{duration} left", duration=_duration(left)), *note]


def progress(
    elements: Iterable[Element], stage: str, total: int | None = None, unit: str = MESSAGES
) -> Iterator[Element]:
    """Yield ``elements`` and show how many have been consumed."""
    with Progress(stage, total, unit) as shown:
        for element in elements:
            yield element
            shown.update()


def _duration(seconds: float) -> Message:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return Message("{hours} h {minutes} min", hours=hours, minutes=minutes)
    if minutes:
        return Message("{minutes} min {seconds} s", minutes=minutes, seconds=rest)
    if seconds < 10:
        return Message("{seconds:.1f} s", seconds=seconds)
    return Message("{seconds} s", seconds=rest)
