#!/usr/bin/env bash
# Make a run with the smstune of the checkout, and use it with the light install of a wheel alone.
#
# tests/try_light.sh FOLDER [PYTHON] [CONSTRAINTS]
#
# FOLDER holds the wheel; CONSTRAINTS are the versions to install, by default those of the checkout,
# for which alone the limit of the size holds.
set -euo pipefail
checkout="$(pwd)"
smstune="$checkout/.venv/bin/smstune"
folder="$(cd "$1" && pwd)"
python="${2:-python3}"
constraints="$(realpath "${3:-constraints.txt}")"
limit_mb="$([ $# -lt 3 ] && echo 270 || echo 999)"

cd "$folder"
if [ ! -d run ]; then
  "$smstune" prepare --config quickstart --quiet
  "$smstune" finetune quickstart training.max_steps=40 model.linear=true training.output_dir=run --quiet
  "$smstune" eval run evaluation.bootstrap_samples=50 --quiet > /dev/null
  "$smstune" export run --format onnx-int8 safetensors --quiet
  "$smstune" predict run "$checkout/train/smstune/data/sample/examples.txt" expected.csv \
    --precision int8 --quiet
fi

rm -rf venv
"$python" -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check -c "$constraints" smstune-*.whl
packages="$(venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
size_mb="$(du --summarize --block-size=1M --exclude='pip' --exclude='pip-*' --exclude='setuptools*' \
  "$packages" | cut -f1)"
echo "the light install takes $size_mb MB (limit $limit_mb)"
[ "$size_mb" -le "$limit_mb" ]

venv/bin/pip install --quiet --disable-pip-version-check pytest pytest-timeout
cd "$checkout"
SMSTUNE_LIGHT="$folder" "$folder/venv/bin/python" -m pytest --confcutdir=tests/light \
  -p no:cacheprovider tests/light tests/inference/test_ngrams.py
