"""Expand templates.yaml into messages.csv: `python -m smstune.data.sample.build`."""

import csv
import random
import re
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent
COLUMNS = ("text", "label", "group")
MAX_TRIES = 200
_SLOT = re.compile(r"\{([a-z_]+)(\d?)\}")
_DRAWS = {"#": "0123456789", "%": "123456789", "@": "abcdefghjkmnpqrstuvwxyz23456789"}


def load_templates(path: Path = FOLDER / "templates.yaml") -> dict[str, Any]:
    """Read the seed, the number of copies, the slots and the templates."""
    spec: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return spec


def fill(template: str, slots: dict[str, list[str]], rng: random.Random) -> str:
    """Fill each slot; a slot named twice keeps its value, `{slot2}` draws a different one."""
    chosen: dict[str, str] = {}

    def draw(match: re.Match[str]) -> str:
        if match[0] not in chosen:
            taken = set(chosen.values())
            value = rng.choice([v for v in slots[match[1]] if v not in taken] or slots[match[1]])
            chosen[match[0]] = re.sub("[#%@]", lambda m: rng.choice(_DRAWS[m[0]]), value)
        return chosen[match[0]]

    return _SLOT.sub(draw, template)


def build_rows() -> list[dict[str, str]]:
    """Expand every template into a few distinct messages, the same ones every time."""
    spec = load_templates()
    rng = random.Random(spec["seed"])
    rows: list[dict[str, str]] = []
    seen: set[str] = set()
    for label, templates in spec["templates"].items():
        for template in templates:
            wanted = len(rows) + rng.randint(*spec["copies"])
            for _ in range(MAX_TRIES):
                text = fill(template["text"], spec["slots"], rng)
                if text not in seen:
                    seen.add(text)
                    rows.append({"text": text, "label": label, "group": template["id"]})
                if len(rows) == wanted:
                    break
            else:
                raise ValueError(f"{template['id']}: too few slots for {spec['copies']} messages")
    return rows


def main() -> None:
    """Write messages.csv beside this file."""
    with (FOLDER / "messages.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(build_rows())


if __name__ == "__main__":
    main()
