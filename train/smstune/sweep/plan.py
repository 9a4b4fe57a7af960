"""What a sweep trains: each variant's configuration, and one run for each of its seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args, get_origin

from pydantic import BaseModel

from smstune.config.loading import load_config, subsection
from smstune.config.schema import Config, SearchedKeyConfig, SweepConfig
from smstune.config.shipped import find_config
from smstune.data.absolute import with_absolute_data
from smstune.errors import UserError
from smstune.files import json_text, locked_folder, write_json
from smstune.results import Result

#: Keys that the sweep sets itself.
_OWN_KEYS = ("sweep", "training.seed", "training.output_dir", "training.resume_from_checkpoint")
BASE = "base"
PLAN = "plan.json"


@dataclass(frozen=True)
class Variant:
    """A configuration to train with each seed, and what makes it differ from the sweep's own."""

    name: str
    changes: Sequence[str]
    config: Config


@dataclass(frozen=True)
class PlannedRun:
    """One fine-tune of a variant: its seed, its fold if data has folds, and its run folder."""

    variant: str
    seed: int
    fold: int | None
    config: Config

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.config.training.output_dir


class Plan(Result):
    """``plan.json``: what a sweep's folder was started with; a sweep that differs is refused.

    ``variants`` holds each variant's configuration as YAML would, without the keys that the sweep
    sets itself; seeds and trials may be added later.
    """

    variants: dict[str, Config]
    space: dict[str, SearchedKeyConfig] | None


@dataclass(frozen=True)
class ConfigSource:
    """The file that a sweep was started with, and the overrides of the command line."""

    path: Path
    overrides: Sequence[str]

    def load(self, changes: Sequence[str] = ()) -> Config:
        """Return the configuration with ``changes``, without the keys that the sweep sets.

        A first change without ``=`` is a configuration file that replaces the sweep's own; the
        command line's overrides hold for it, too.

        Raises:
            UserError: if a file is missing, a key is unknown, or a value is none of its key.
        """
        for change in changes:
            key = change.partition("=")[0]
            if any(key == own or key.startswith(f"{own}.") for own in _OWN_KEYS):
                raise UserError("{key} is set by the sweep itself: remove it", key=key)
        if changes and "=" not in changes[0]:
            path, *changes = changes
            overrides = [text for text in self.overrides if not text.startswith("sweep.")]
            config = load_config(find_config(path), [*overrides, *changes])
        else:
            config = load_config(self.path, [*self.overrides, *changes])
        training = config.training.model_copy(update={"resume_from_checkpoint": False})
        config = config.model_copy(update={"training": training, "sweep": None})
        return with_absolute_data(config)


def plan_variants(source: ConfigSource, section: SweepConfig) -> list[Variant]:
    """Return the variants of the grid, or the configuration itself as the only one.

    Raises:
        UserError: if a variant is no configuration, or reads other data than the first.
    """
    grid = {BASE: []} if section.grid is None else section.grid
    variants = [_variant(source, name, changes) for name, changes in grid.items()]
    first = variants[0]
    for variant in variants[1:]:
        if variant.config.data.path != first.config.data.path:
            raise UserError(
                "variants of a sweep must read the same data, found {path} for {variant} and "
                "{first_path} for {first}: set data.path on the command line",
                path=variant.config.data.path,
                variant=variant.name,
                first_path=first.config.data.path,
                first=first.name,
            )
    return variants


def _variant(source: ConfigSource, name: str, changes: Sequence[str]) -> Variant:
    try:
        return Variant(name, changes, source.load(changes))
    except UserError as error:
        raise UserError("sweep.grid.{variant}: {problem}", variant=name, problem=error) from error


def override(key: str, setting: object) -> str:
    """Return the override that gives ``key`` a value of JSON's types."""
    return f"{key}={json_text(setting).strip()}"


def check_space(source: ConfigSource, space: dict[str, SearchedKeyConfig]) -> None:
    """Check that each key exists and takes both ends of its range, or each of its choices.

    Raises:
        UserError: naming the key and its problem.
    """
    for key, searched in space.items():
        ends = [_number(key, end) for end in (searched.low, searched.high) if end is not None]
        for setting in searched.choices or ends:
            try:
                source.load([override(key, setting)])
            except UserError as error:
                raise UserError("sweep.space.{key}: {problem}", key=key, problem=error) from error


def is_whole_number(key: str) -> bool:
    """Return whether a key of the configuration takes whole numbers alone."""
    *parents, last = key.split(".")
    model: type[BaseModel] | None = Config
    for name in parents:
        model = subsection(model, name)
    if model is None or last not in model.model_fields:
        return False
    annotation = model.model_fields[last].annotation
    kinds = get_args(annotation) if get_origin(annotation) else (annotation,)
    return int in kinds and float not in kinds


def _number(key: str, end: float) -> float:
    return int(end) if is_whole_number(key) and end.is_integer() else end


def fold_numbers(folder: Path) -> list[int] | None:
    """Return the numbers of the folds in a folder of ``prepare --split folds``, else ``None``."""
    if (folder / "manifest.json").is_file():
        return None
    folds = [path.parent.name for path in folder.glob("fold-*/manifest.json")]
    return sorted(int(name.partition("-")[2]) for name in folds) or None


def planned_runs(variant: Variant, section: SweepConfig) -> list[PlannedRun]:
    """Return the runs of a variant: one for each seed, and with folds one for each of them."""
    runs = []
    prepared = variant.config.data.path
    folds: Sequence[int | None] = fold_numbers(prepared) or [None]
    for seed in section.seeds:
        for fold in folds:
            name = f"{variant.name}-{seed}" + ("" if fold is None else f"-fold-{fold}")
            path = prepared if fold is None else prepared / f"fold-{fold}"
            folder = section.output_dir.resolve() / "runs" / name
            config = _with_keys(variant.config, path, seed, folder)
            runs.append(PlannedRun(variant.name, seed, fold, config))
    return runs


def _with_keys(config: Config, prepared: Path, seed: int, folder: Path) -> Config:
    training = config.training.model_copy(update={"seed": seed, "output_dir": folder})
    return config.model_copy(
        update={
            "data": config.data.model_copy(update={"path": prepared}),
            "training": training,
        }
    )


def keep_plan(section: SweepConfig, variants: Sequence[Variant]) -> None:
    """Write ``plan.json`` into the sweep's folder, or compare with the one that is there.

    Raises:
        UserError: if the folder holds another sweep, or files but no sweep.
    """
    folder = section.output_dir
    if folder.is_dir() and not _is_sweep(folder):
        raise UserError(
            "expected a new folder or that of a sweep, found {folder} with other content: choose "
            "another sweep.output_dir",
            folder=folder,
        )
    with locked_folder(folder):
        path = folder / PLAN
        plan = Plan(
            variants={variant.name: _without_own_keys(variant.config) for variant in variants},
            space=section.space,
        )
        if path.is_file():
            earlier = Plan.model_validate_json(path.read_bytes())
            _require_same_sweep(folder, earlier, plan)
            merged = earlier.variants | plan.variants
            plan = Plan(variants=merged, space=plan.space)
        write_json(path, plan.to_json())


def _is_sweep(folder: Path) -> bool:
    """Say whether a folder has a plan, or holds runs alone, put there to be used."""
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    return PLAN in names or names <= {"runs"}


def _require_same_sweep(folder: Path, earlier: Plan, plan: Plan) -> None:
    changed = [
        name
        for name, config in plan.variants.items()
        if name in earlier.variants and earlier.variants[name] != config
    ]
    if changed:
        raise UserError(
            "{folder} holds a sweep with another configuration of {variants}: choose another "
            "sweep.output_dir, or other names",
            folder=folder,
            variants=", ".join(changed),
        )
    if earlier.space != plan.space:
        raise UserError(
            "{folder} holds a sweep with another space: choose another sweep.output_dir",
            folder=folder,
        )


def _without_own_keys(config: Config) -> Config:
    training = config.training.model_copy(update={"seed": 0, "output_dir": Path("runs")})
    return config.model_copy(update={"training": training})
