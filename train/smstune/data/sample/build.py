"""Expand templates.yaml into messages.csv: `python -m smstune.data.sample.build`."""

import csv
import random
import re
from pathlib import Path
from typing import NotRequired, TypedDict, cast

import yaml

FOLDER = Path(__file__).parent
COLUMNS = ("text", "label", "group")
MAX_TRIES = 200
_SLOT = re.compile(r"\{([a-z_]+)(\d?)\}")
_DRAWS = {"#": "0123456789", "%": "123456789", "@": "abcdefghjkmnpqrstuvwxyz23456789"}


class Template(TypedDict):
    """A message with slots; ``twin`` is the id of the genuine template that a forged one copies."""

    id: str
    text: str
    twin: NotRequired[str]


class Templates(TypedDict):
    """The content of ``templates.yaml``.

    ``copies`` is the range of messages of each template. ``fitting`` holds the options of slots
    that depend on another one, by that slot and its value: ``fitting["shop"]["..."]["item"]``.
    """

    seed: int
    copies: tuple[int, int]
    slots: dict[str, list[str]]
    fitting: dict[str, dict[str, dict[str, list[str]]]]
    templates: dict[str, list[Template]]


def load_templates(path: Path = FOLDER / "templates.yaml") -> Templates:
    """Return the content of a file of templates."""
    return cast(Templates, yaml.safe_load(path.read_text(encoding="utf-8")))


def fill(template: str, content: Templates, rng: random.Random) -> str:
    """Return the message of a template.

    A slot named twice keeps its value, `{slot2}` draws a different one. A slot of ``fitting`` takes
    a value that fits the message's value of the slot it depends on, drawn unseen if need be.
    """
    owners = {
        slot: owner
        for owner, options_by_value in content["fitting"].items()
        for options in options_by_value.values()
        for slot in options
    }
    chosen: dict[str, str] = {}

    def draw(slot: str, number: str = "") -> str:
        if slot + number not in chosen:
            if slot in owners:
                options = content["fitting"][owners[slot]][draw(owners[slot])][slot]
            else:
                options = content["slots"][slot]
            taken = set(chosen.values())
            option = rng.choice([option for option in options if option not in taken] or options)
            chosen[slot + number] = re.sub(
                "[#%@]", lambda sign: rng.choice(_DRAWS[sign[0]]), option
            )
        return chosen[slot + number]

    return _SLOT.sub(lambda match: draw(match[1], match[2]), template)


def build_rows() -> list[dict[str, str]]:
    """Expand every template into a few distinct messages, the same ones every time."""
    content = load_templates()
    rows: list[dict[str, str]] = []
    seen: set[str] = set()
    for label, templates in content["templates"].items():
        for template in templates:
            # A generator of its own: a new template leaves the messages of the others as they are.
            rng = random.Random(f"{content['seed']} {template['id']}")
            n_rows = len(rows) + rng.randint(*content["copies"])
            for _ in range(MAX_TRIES):
                text = fill(template["text"], content, rng)
                if text not in seen:
                    seen.add(text)
                    rows.append({"text": text, "label": label, "group": template["id"]})
                if len(rows) == n_rows:
                    break
            else:
                raise ValueError(
                    f"{template['id']}: too few slots for {content['copies']} messages"
                )
    return rows


def main() -> None:
    """Write messages.csv beside this file."""
    with (FOLDER / "messages.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(build_rows())


if __name__ == "__main__":
    main()
