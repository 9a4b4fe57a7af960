"""What a model card says of a run: measured numbers and terms, gathered from the run folder."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from pydantic import ValidationError

from smstune import __version__
from smstune.data.manifest import Preparation
from smstune.data.prepared import provenance
from smstune.errors import UserError
from smstune.evaluation.calibration.cascade import reason_for_none as reason_for_no_cascade
from smstune.evaluation.calibration.operating_points import reason_for_none as reason_for_no_point
from smstune.evaluation.evaluated import load_predictions
from smstune.evaluation.metrics import Metrics
from smstune.evaluation.report.report import headline_rows
from smstune.evaluation.robustness.suite import Robustness, SuiteRow, SuiteScores
from smstune.evaluation.scores.metrics import headline
from smstune.evaluation.scores.results import Bounds, RankedLabelScores, SliceScores
from smstune.files import file_hash
from smstune.inference.backends.exported import EXPORTED, Export, load_export
from smstune.inference.decision import Calibration, OperatingPoint
from smstune.inference.labels import LabelMap
from smstune.inference.linear import LINEAR, LinearModel
from smstune.inference.manifest import LABELS, Manifest
from smstune.inference.memory.store import open_generation
from smstune.inference.origin import DataFacts, Terms
from smstune.language import Message
from smstune.paths import is_repo_id
from smstune.text.normalize import preprocess

#: Names of the evaluations of prepared splits; any other evaluation is of a user's own file.
PREPARED_EVALUATIONS = ("test", "validation")
#: Invented raw message for the code example on the card.
RAW_EXAMPLE = "【云禾银行】您的账户存在异常，请登录 http://yh-app.example/k2p 核实"
#: For each parent in the sample (configs/labels/sample.yaml), the label that gives its example.
_EXAMPLE_LABELS = {
    "normal": "bank_alert",
    "marketing": "retail",
    "fraud": "bank_phishing",
    "illegal": "gambling",
}
#: Scores of labels with fewer test messages are hardly meaningful.
RARE = 20
_WORST_SLICES = 8
#: Slices of fewer messages say little.
_MIN_SLICE = 10


@dataclass(frozen=True)
class MemoryFacts:
    """The reported campaigns that are published with a run, and what is done with their messages.

    ``passed``, ``blocked`` and ``labelled`` count campaigns; ``first`` and ``last`` are the days of
    the first and of the last report.
    """

    campaigns: int
    messages: int
    passed: int
    blocked: int
    labelled: int
    first: str
    last: str
    similarity: float


def memory_facts(folder: Path) -> MemoryFacts | None:
    """Return what the memory in a run folder holds, ``None`` if it has none or an empty one."""
    generation = open_generation(folder)
    entries = list(generation.entries()) if generation else []
    if generation is None or not entries:
        return None
    actions = Counter(entry.action for entry in entries)
    return MemoryFacts(
        campaigns=len(entries),
        messages=sum(entry.messages for entry in entries),
        passed=actions["allow"],
        blocked=actions["block"],
        labelled=actions[None],
        first=min(entry.first for entry in entries)[:10],
        last=max(entry.last for entry in entries)[:10],
        similarity=generation.similarity,
    )


def load_evaluations(run: Path, labels: LabelMap) -> dict[str, Metrics]:
    """Return ``metrics.json`` of every evaluation of a run, by its name.

    Raises:
        UserError: if one does not match the predictions next to it.
    """
    evaluations = {}
    for path in sorted((run / "eval").glob("*/metrics.json")):
        name = path.parent.name
        evaluations[name] = _load_metrics(run, name)
        _require_predictions(run, name, evaluations[name], labels)
    return evaluations


def _load_metrics(run: Path, name: str) -> Metrics:
    path = run / "eval" / name / "metrics.json"
    try:
        return Metrics.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise UserError(
            "{path} is not what `smstune eval` wrote: evaluate again by {command}",
            path=path,
            command=_eval_command(run, name),
        ) from error


def _eval_command(run: Path, name: str) -> str:
    if name == "test":
        return f"smstune eval {run}"
    return (
        f"smstune eval {run} --{f'split {name}' if name in PREPARED_EVALUATIONS else 'data FILE'}"
    )


def _require_predictions(run: Path, name: str, metrics: Metrics, labels: LabelMap) -> None:
    """Check that an evaluation's scores match the predictions next to it."""
    path = run / "eval" / name / "predictions.parquet"
    bound = path.is_file() and metrics.predictions_sha256 == file_hash(path)
    if bound:
        evaluated = load_predictions(path, labels)
        scores = headline(evaluated.truth, evaluated.answers)
        bound = all(
            math.isclose(getattr(metrics, key), value, abs_tol=1e-9)
            for key, value in scores.items()
        )
    if not bound:
        raise UserError(
            "eval/{name}/metrics.json does not match predictions.parquet next to it: evaluate "
            "again with {command}",
            name=name,
            command=_eval_command(run, name),
        )


def require_evaluation(
    run: Path, manifest: Manifest, evaluations: Mapping[str, Metrics], export: Export | None
) -> None:
    """Refuse a run whose card would be incomplete.

    Raises:
        UserError: if the test split was not evaluated, or under another calibration, or without
            intervals, baseline or contamination; if the split is random and no set of one's own
            was evaluated. It names the command to run.
    """
    command = f"smstune eval {run}"
    if "test" not in evaluations:
        raise _incomplete(Message("an evaluation of the test split"), Message("none"), command)
    metrics = evaluations["test"]
    if not _is_of_calibration(metrics, _current_calibration(manifest, metrics, export)):
        raise _incomplete(
            Message("an evaluation of this calibration"), Message("one of another"), command
        )
    # A score without an interval, such as one that all draws agree on, was still asked for.
    intervals = metrics.ci if metrics.ci.model_fields_set else None
    for present, name, fix in (
        (intervals, Message("intervals"), f"{command} evaluation.bootstrap_samples=1000"),
        (metrics.baseline, Message("the linear baseline"), f"{command} evaluation.baseline=true"),
        (
            metrics.contamination,
            Message("the contamination"),
            Message("{command} (it takes the prepared data)", command=command),
        ),
    ):
        if present is None:
            raise _incomplete(
                Message("{name} in eval/test/metrics.json", name=name), Message("none"), fix
            )
    if manifest.data.split.method == "random" and not set(evaluations) - set(PREPARED_EVALUATIONS):
        raise UserError(
            "the only evaluation uses a random split, which leaks near-copies of test messages "
            "into training: smstune prepare ... --split group and train again, or "
            "evaluate other messages: {command} --data FILE",
            command=command,
        )


def _is_of_calibration(metrics: Metrics, calibration: Calibration) -> bool:
    """Return whether an evaluation was made under a calibration."""
    points = [
        OperatingPoint(**{name: getattr(point, name) for name in OperatingPoint.model_fields})
        for point in metrics.operating_points
    ]
    facts = metrics.calibration
    return (
        points == calibration.operating_points
        and facts.temperature == calibration.temperature
        and facts.linear_weight == calibration.linear_weight
        and facts.label_bias == calibration.label_bias
        and facts.checkpoints_compared == calibration.checkpoints_compared
        and facts.cascade == calibration.cascade
        and facts.fitted_on == calibration.fitted_on
    )


def _current_calibration(
    manifest: Manifest, metrics: Metrics, export: Export | None
) -> Calibration:
    """Return the calibration of what was evaluated: of the run, or of an exported form."""
    computed_by = metrics.throughput
    if export is None or computed_by.backend != "onnx":
        return manifest.calibration
    form = export.files.get(EXPORTED[computed_by.precision])
    return (form and form.calibration) or manifest.calibration


@dataclass(frozen=True)
class LabelRow:
    """A label as the card shows it: parent, example, scores, interval and baseline of its F1.

    ``shown_en`` and ``shown_zh`` are its name with its title, if it has one.
    """

    shown_en: str
    shown_zh: str
    parent: str | None
    example: str | None
    scores: RankedLabelScores
    ci: Bounds | None
    baseline: float | None


@dataclass(frozen=True)
class EvasionRow:
    """A transform of the evasion suite, with its scores at each strength.

    ``off`` is the macro-F1 with the normaliser off, at the largest strength.
    """

    transform: str
    trained_on: bool
    macro_f1: list[float]
    recall: list[float | None]
    off: float


@dataclass(frozen=True)
class EvasionFacts:
    """The evasion suite by transform.

    ``lost_to_cascade`` are transforms under which the cascade costs more than 1 point of recall.
    """

    n: int
    clean: SuiteScores
    strengths: list[float]
    rows: list[EvasionRow]
    lost_to_cascade: list[str]


@dataclass(frozen=True)
class FormSpeed:
    """How fast an exported form answers, and where that was measured."""

    form: str
    machine: str
    p50_ms: float
    p95_ms: float
    p99_ms: float
    messages_per_second: float


@dataclass(frozen=True)
class CardFacts:
    """Everything that the templates of the card fill in; the same for both languages.

    ``needs_torch`` says whether a CPU has to score it with torch. ``linear_min_campaigns`` is
    ``None`` without a linear model, and for one of an earlier version. ``no_threshold`` says why an
    operating point has no threshold, by its name; ``no_cascade`` why the cascade has none.
    """

    name: str
    on_hub: bool
    needs_torch: bool
    version: str
    manifest: Manifest
    metrics: Metrics
    #: ``yes``, ``no`` or ``not shown``.
    beats_baseline: str
    headline: list[list[object]]
    labels: list[LabelRow]
    no_threshold: dict[str, str]
    no_cascade: str | None
    rare: list[str]
    rare_below: int
    other_evaluations: dict[str, Metrics]
    slices: list[SliceScores]
    evasion: EvasionFacts | None
    linear_min_campaigns: int | None
    onnx_file: str | None
    exported: list[FormSpeed]
    raw_example: str
    read_example: str


def card_facts(run: Path, manifest: Manifest, name: str) -> CardFacts:
    """Return what the templates of the card fill in.

    ``name`` is the repository's id or the folder's name. ``manifest`` is the published one, whose
    data carries its terms.

    Raises:
        UserError: if the card would be incomplete.
    """
    labels = LabelMap.load(run / LABELS)
    evaluations = load_evaluations(run, labels)
    export = load_export(run, manifest)
    require_evaluation(run, manifest, evaluations, export)
    metrics = evaluations.pop("test")
    return CardFacts(
        name=name,
        on_hub=is_repo_id(name),
        needs_torch=needs_torch(export),
        version=__version__,
        manifest=manifest,
        metrics=metrics,
        beats_baseline=_beats_baseline(metrics),
        headline=headline_rows(metrics),
        labels=label_rows(labels, metrics),
        no_threshold=_no_threshold(metrics),
        no_cascade=_no_cascade(metrics),
        rare=[label for label, row in metrics.per_label.items() if row.support < RARE],
        rare_below=RARE,
        other_evaluations=evaluations,
        slices=[row for row in metrics.slices if row.n >= _MIN_SLICE][:_WORST_SLICES],
        evasion=evasion_facts(metrics.robustness),
        linear_min_campaigns=_linear_min_campaigns(run, manifest),
        onnx_file=onnx_file(export),
        exported=exported_speed(export),
        raw_example=RAW_EXAMPLE,
        read_example=manifest.text.preprocess(RAW_EXAMPLE),
    )


def _no_threshold(metrics: Metrics) -> dict[str, str]:
    """Return why operating points have no threshold, as messages: metrics.json has plain texts."""
    return {
        point.name: reason_for_no_point(point, metrics.calibration.checkpoints_compared)
        for point in metrics.operating_points
        if point.threshold is None
    }


def _no_cascade(metrics: Metrics) -> Message | None:
    calibration = metrics.calibration
    if calibration.cascade is None or calibration.cascade.threshold is not None:
        return None
    n_campaigns = calibration.fitted_on.campaigns if calibration.fitted_on else 0
    return reason_for_no_cascade(calibration.cascade, n_campaigns, calibration.checkpoints_compared)


def _linear_min_campaigns(run: Path, manifest: Manifest) -> int | None:
    """Return how many campaigns contain each n-gram of the linear model, if there is one."""
    return LinearModel.load(run / LINEAR).min_campaigns if LINEAR in manifest.sha256 else None


def _beats_baseline(metrics: Metrics) -> str:
    """Say whether the interval of macro-F1 lies above the baseline's value."""
    if metrics.ci.macro_f1 is None or metrics.baseline is None:
        return "not shown"
    low, high = metrics.ci.macro_f1
    baseline = metrics.baseline.macro_f1
    return "yes" if low > baseline else "no" if high < baseline else "not shown"


def published_data(manifest: Manifest) -> DataFacts:
    """Return what the published manifest says of the data: its terms, and no local path.

    A run of an earlier version names no terms; they are those of the prepared folder if that is
    unchanged. Otherwise sources and terms stay unknown.
    """
    data = manifest.data
    prepared = Path(data.path) / "manifest.json"
    if data.terms is None and prepared.is_file():
        preparation = Preparation.model_validate_json(prepared.read_text("utf-8"))
        if preparation.sha256 == data.sha256:
            data = data.model_copy(update=provenance(preparation).given())
    return data.model_copy(update={"path": Path(data.path).name})


def terms_of_all(manifest: Manifest) -> list[Terms] | None:
    """Return the terms of every public set that the model has read, labelled or not.

    ``None`` where the origin of the labelled data is unknown.
    """
    if manifest.data.terms is None:
        return None
    unlabelled = manifest.pretraining.terms if manifest.pretraining else []
    return list({terms.name: terms for terms in (*manifest.data.terms, *unlabelled)}.values())


def own_sources(manifest: Manifest) -> list[str]:
    """Return the sources of messages, labelled or not, that are no public sets."""
    unlabelled = manifest.pretraining.sources if manifest.pretraining else []
    public_sets = {terms.name for terms in terms_of_all(manifest) or ()}
    sources = dict.fromkeys((*(manifest.data.sources or ()), *unlabelled))
    return [source for source in sources if source not in public_sets]


def unclear_terms(manifest: Manifest) -> list[Message]:
    """Return why the model may not be passed on: a line for each set, none if all is clear."""
    all_terms = terms_of_all(manifest)
    if all_terms is None:
        return [Message("the origin of the data is unknown")]
    words = {
        "no": Message("no commercial use"),
        "unclear": Message("whether it may be used is unclear"),
    }
    return [
        Message(
            "{name}: {doubt}. {licence}",
            name=terms.name,
            doubt=words[terms.commercial_use],
            licence=terms.licence,
        )
        for terms in all_terms
        if terms.commercial_use != "allowed"
    ] + [
        Message("{source}: a file of your own, whose terms only you know", source=source)
        for source in own_sources(manifest)
    ]


def label_rows(labels: LabelMap, metrics: Metrics) -> list[LabelRow]:
    """Return each label with its parent, scores, interval, baseline and an example.

    The example is a message of the bundled sample, as the model reads it; ``None`` where no label
    or parent of the sample has the label's name.
    """
    baseline = metrics.baseline.per_label if metrics.baseline else {}
    shown_en, shown_zh = labels.shown_names("en"), labels.shown_names("zh")
    rows = []
    for name, parent in zip(labels.names, labels.parents, strict=True):
        intervals = metrics.ci.per_label.get(name)
        rows.append(
            LabelRow(
                shown_en=shown_en[name],
                shown_zh=shown_zh[name],
                parent=parent,
                example=sample_example(name),
                scores=metrics.per_label[name],
                ci=intervals.f1 if intervals else None,
                baseline=baseline.get(name),
            )
        )
    return rows


def sample_example(label: str) -> str | None:
    """Return the sample's first message, masked, of the label with this name, if there is one.

    A parent before a colon (``AD:Retail``) and the case of letters are ignored. For a parent in the
    sample, such as ``fraud``, the message is of one of its labels.
    """
    name = label.rpartition(":")[2].lower()
    return _sample().get(_EXAMPLE_LABELS.get(name, name))


@cache
def _sample() -> dict[str, str]:
    path = files("smstune.data.sample") / "messages.csv"
    found: dict[str, str] = {}
    with path.open("r", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            if row["label"] not in found:
                found[row["label"]] = preprocess(row["text"], mask=True)
    return found


def evasion_facts(suite: Robustness | None) -> EvasionFacts | None:
    """Return the evasion suite by transform, if it was run."""
    if suite is None:
        return None
    strengths = sorted({row.strength for row in suite.rows})
    rows_by_transform: dict[str, dict[float, SuiteRow]] = {}
    for row in suite.rows:
        rows_by_transform.setdefault(row.transform, {})[row.strength] = row
    return EvasionFacts(
        n=suite.n,
        clean=suite.clean,
        strengths=strengths,
        rows=[
            EvasionRow(
                transform=transform,
                trained_on=by_strength[strengths[-1]].trained_on,
                macro_f1=[by_strength[strength].normalised.macro_f1 for strength in strengths],
                recall=[by_strength[strength].normalised.recall for strength in strengths],
                off=by_strength[strengths[-1]].raw.macro_f1,
            )
            for transform, by_strength in rows_by_transform.items()
        ],
        lost_to_cascade=list(suite.lost_to_cascade()),
    )


def needs_torch(export: Export | None) -> bool:
    """Return whether a CPU has to score the run with torch: it has no int8 and no fp32 form."""
    return export is None or not {EXPORTED["int8"], EXPORTED["fp32"]} & export.files.keys()


def onnx_file(export: Export | None) -> str | None:
    """Return the graph that the card's code loads, the fp32 one first; ``None`` without export."""
    return f"onnx/{min(export.files, key=len)}" if export and export.files else None


def exported_speed(export: Export | None) -> list[FormSpeed]:
    """Return how fast each form answers."""
    files = export.files.values() if export else ()
    # Forms exported by one command were measured in one run, so each file has the rows of all.
    speeds = {
        form: FormSpeed(form=form, machine=file.machine, **latency.to_json())
        for file in files
        for form, latency in file.latency.items()
    }
    return list(speeds.values())


def _incomplete(expected: str, found: str, command: str) -> UserError:
    return UserError(
        "expected {expected} for the model card, found {found}: {command}",
        expected=expected,
        found=found,
        command=command,
    )
