"""The palette: states told apart by every kind of colour vision, texts readable, both dark blocks
the same."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest

PALETTE = Path(__file__).parents[3] / "services" / "dashboard" / "static" / "palette.css"

FILLED = ("running", "slow", "down", "planned")

# Machado, Oliveira and Fernandes 2009, severity 1.0, on linear RGB.
VISIONS = {
    "normal": np.eye(3),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}
SMALLEST = {
    ("light", "normal"): 16.7,
    ("light", "deuteranopia"): 16.6,
    ("light", "protanopia"): 14.9,
    ("light", "tritanopia"): 15.4,
    ("dark", "normal"): 13.7,
    ("dark", "deuteranopia"): 12.6,
    ("dark", "protanopia"): 13.0,
    ("dark", "tritanopia"): 12.7,
}


def themes() -> dict[str, dict[str, str]]:
    blocks = re.findall(r":root([^{]*)\{([^{}]*)\}", PALETTE.read_text())
    read = [dict(re.findall(r"--([\w-]+):\s*(#[0-9A-F]{6})", body)) for _, body in blocks]
    assert len(read) == 3
    return {"light": read[0], "dark": read[1], "chosen dark": read[2]}


def linear(colour: str) -> np.ndarray:
    srgb = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def oklab(rgb: np.ndarray) -> np.ndarray:
    lms = np.cbrt(
        np.array(
            [
                [0.4122214708, 0.5363325363, 0.0514459929],
                [0.2119034982, 0.6806995451, 0.1073969566],
                [0.0883024619, 0.2817188376, 0.6299787005],
            ]
        )
        @ rgb
    )
    return (
        np.array(
            [
                [0.2104542553, 0.7936177850, -0.0040720468],
                [1.9779984951, -2.4285922050, 0.4505937099],
                [0.0259040371, 0.7827717662, -0.8086757660],
            ]
        )
        @ lms
    )


def contrast(one: str, other: str) -> float:
    light, dark = sorted(
        (float(np.dot([0.2126, 0.7152, 0.0722], linear(c))) for c in (one, other)), reverse=True
    )
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize(("theme", "vision"), SMALLEST)
def test_the_four_filled_states_can_be_told_apart(theme: str, vision: str) -> None:
    colours = themes()[theme]
    seen = {name: oklab(np.clip(VISIONS[vision] @ linear(colours[name]), 0, 1)) for name in FILLED}
    smallest = min(
        100 * float(np.linalg.norm(seen[a] - seen[b])) for a, b in itertools.combinations(FILLED, 2)
    )
    assert smallest >= 12
    assert smallest == pytest.approx(SMALLEST[theme, vision], abs=0.1)


def test_the_chosen_dark_theme_is_the_preferred_one() -> None:
    assert themes()["dark"] == themes()["chosen dark"]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_has_a_contrast_of_at_least_4_5(theme: str) -> None:
    colours = themes()[theme]
    pairs = [(text, ground) for text in ("ink", "muted") for ground in ("ground", "card", "track")]
    pairs += [(f"on-{tone}", tone) for tone in ("slow", "down", "planned")]
    low = {pair: contrast(colours[pair[0]], colours[pair[1]]) for pair in pairs}
    assert {pair: round(value, 2) for pair, value in low.items() if value < 4.5} == {}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_shapes_and_the_focus_ring_have_a_contrast_of_at_least_3(theme: str) -> None:
    colours = themes()[theme]
    low = {
        name: contrast(colours[name], colours[ground])
        for name in (*FILLED, "focus")
        for ground in ("ground", "card")
    }
    assert {name: round(value, 2) for name, value in low.items() if value < 3} == {}
