"""Export a run: onnx (fp32), onnx-int8 (for a CPU), onnx-fp16 (for a GPU), each through its gate.

The format safetensors is the clean folder that scripts/publish.py would send, with its model card.

python scripts/export.py runs/fbs14 --format onnx onnx-int8
python scripts/export.py runs/fbs14 --format safetensors
python scripts/export.py runs/fbs14 export.max_macro_f1_loss=0.01 --format onnx-int8
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from smstune.command import command
from smstune.deploy.export.export import FORMATS, export_run
from smstune.deploy.hub.folder import write_published_folder
from smstune.inference.run import run_config

_CLEAN = "safetensors"


@command
def main(argv: Sequence[str] | None) -> None:
    """Parse, export, print the paths of what was written."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("overrides", nargs="*", metavar="export.key=value")
    parser.add_argument("--format", nargs="+", choices=[*FORMATS, _CLEAN], required=True)
    parser.add_argument(
        "--keep-fp32", nargs="+", metavar="LAYER", help="in int8 and fp16, as export.keep_fp32"
    )
    args = parser.parse_args(argv)
    section = run_config(args.run, "export", args.overrides).export
    if args.keep_fp32:
        section = section.model_copy(update={"keep_fp32": args.keep_fp32})
    graphs = [name for name in args.format if name != _CLEAN]
    for path in export_run(args.run, graphs, section) if graphs else []:
        print(path)
    if _CLEAN in args.format:
        print(write_published_folder(args.run, args.run / "published"))


if __name__ == "__main__":
    sys.exit(main())
