"""A Ray cluster for the length of a block; the only file that starts one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from smstune.errors import UserError, how_to_install


def require_ray() -> None:
    """Check that Ray can be imported.

    Raises:
        UserError: if it is not installed, with how to install it.
    """
    try:
        import ray  # noqa: F401
    except ImportError as error:
        raise UserError(
            "expected the package ray for --engine ray, found none: {how_to_install}",
            how_to_install=how_to_install("ray"),
        ) from error


@contextmanager
def ray_cluster(*, show_logs: bool = False) -> Iterator[None]:
    """Connect to the cluster that ``RAY_ADDRESS`` names, or start one on this machine.

    One that was connected to before stays so after the block. ``show_logs`` prints what the
    cluster's processes write.

    Raises:
        UserError: if Ray is not installed, or no cluster answers.
    """
    require_ray()
    import ray

    started = not ray.is_initialized()
    try:
        ray.init(ignore_reinit_error=True, log_to_driver=show_logs, logging_level="WARNING")
    except (ValueError, ConnectionError) as error:
        raise UserError(
            "expected a Ray cluster at RAY_ADDRESS={address}, found none ({error}): check the "
            "address, or unset the variable to use this machine",
            address=os.environ.get("RAY_ADDRESS", ""),
            error=error,
        ) from error
    try:
        yield
    finally:
        if started:
            ray.shutdown()
