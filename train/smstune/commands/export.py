"""Export a run to ONNX: onnx (fp32), onnx-int8 (for CPUs), onnx-fp16 (for GPUs).

An exported model is written only if its answers agree with the run's. The format safetensors
writes the folder that `smstune publish` would upload, with its model card.

Examples:
  smstune export runs/fbs14 --format onnx onnx-int8
  smstune export runs/fbs14 --format safetensors
  smstune export runs/fbs14 export.max_macro_f1_loss=0.01 --format onnx-int8
"""

from __future__ import annotations

from collections.abc import Sequence

from smstune.command import command
from smstune.commands.parser import command_parser, parse
from smstune.errors import require_training_packages
from smstune.paths import user_path

_CLEAN = "safetensors"


@command
def main(argv: Sequence[str] | None) -> None:
    """Parse, export, print the paths of the exported files."""
    parser = command_parser("export", __doc__)
    parser.add_argument("run", type=user_path, help="run folder")
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="export.key=value",
        help="change how much quality an export may lose",
    )
    parser.add_argument(
        "--format",
        nargs="+",
        choices=["onnx", "onnx-int8", "onnx-fp16", _CLEAN],
        required=True,
        help="formats to write",
    )
    parser.add_argument(
        "--keep-fp32",
        nargs="+",
        metavar="LAYER",
        help="layers that stay in fp32 in int8 and fp16; overrides export.keep_fp32",
    )
    args = parse(parser, argv)
    require_training_packages("export")
    from smstune.inference.manifest import load_manifest
    from smstune.inference.run_config import run_config

    section = run_config(args.run, load_manifest(args.run), "export", args.overrides).export
    if args.keep_fp32:
        section = section.model_copy(update={"keep_fp32": args.keep_fp32})
    forms = [name for name in args.format if name != _CLEAN]
    if forms:
        from smstune.deploy.export.export import export_run

        for path in export_run(args.run, forms, section):
            print(path)
    if _CLEAN in args.format:
        from smstune.deploy.hub.folder import write_published_folder

        print(write_published_folder(args.run, args.run / "published"))
