#!/usr/bin/env bash
# Walk the path of a new user with the smstune installed in FOLDER/venv, far from the checkout.
#
# tests/try_wheel.sh FOLDER
set -euo pipefail
smstune="$(cd "$1" && pwd)/venv/bin/smstune"
cd "$(mktemp -d)"
echo 'raise SystemExit("train.py of the user was imported")' > train.py
"$smstune" --version
"$smstune" configs | grep --quiet '^recipes/lora$'
"$smstune" prepare --config quickstart --quiet
"$smstune" finetune quickstart training.max_steps=5 --quiet
"$smstune" eval runs/quickstart evaluation.bootstrap_samples=0 --quiet > /dev/null
printf '%s\n' 恭喜中奖，点击领取 > messages.txt
"$smstune" predict runs/quickstart messages.txt labelled.csv --quiet
cat labelled.csv
