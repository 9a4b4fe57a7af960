"""The learning rate that ``training.learning_rate: auto`` stands for."""

from __future__ import annotations

#: Measured at width 384 on FBS (docs/experiments.md, 2026-11-24).
_NARROW, _NARROW_RATE = 384, 2e-4
#: The middle of the three rates that Devlin et al. 2019 (BERT, Appendix A.3) recommend for
#: fine-tuning BERT, whose widths are 768 and 1,024: 5e-5, 3e-5, 2e-5. Not measured here.
_WIDE, _WIDE_RATE = 768, 3e-5


def auto_learning_rate(hidden_size: int) -> float:
    """Return the learning rate for an encoder of this width.

    It is 2e-4 up to width 384, 3e-5 from width 768 on, and linear between.
    """
    share = min(max((hidden_size - _NARROW) / (_WIDE - _NARROW), 0.0), 1.0)
    return round(_NARROW_RATE + share * (_WIDE_RATE - _NARROW_RATE), 7)
