"""Text in figures: names and tokens are shown as they are, and fit where they stand."""
import bisect
import functools

from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.font_manager import FontProperties, fontManager

CHINESE = [font.name for font in fontManager.ttflist if "CJK" in font.name or "WenQuanYi" in font.name][:1]
FONTS = ["DejaVu Sans", *CHINESE]
# Names and tokens are shown as they are: a "$" in them starts no formula. Formulas of our own are not used either.
PLAIN_TEXT = {"text.parse_math": False, "text.usetex": False, "font.family": FONTS}


def shown(text):
    """A text of users in one line: what cannot be printed is spelt out, a line break as \\n."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def with_units(name, series):
    """For an axis: "attention_entropy [nat]"."""
    return shown(name if series.units == "1" else f"{name} [{series.units}]")


_RENDERER = RendererAgg(10, 10, 72)  # measures in points


@functools.lru_cache(4096)
def width_of(text, size, weight="normal"):
    """In inches."""
    font = FontProperties(family=FONTS, size=size, weight=weight)
    return _RENDERER.get_text_width_height_descent(text, font, False)[0] / 72


def letters_within(text, size, width, weight="normal", end=""):
    """How many of its first letters, with `end` after them, are at most `width` inches wide."""
    return max(bisect.bisect_right(range(len(text) + 1), width,
                                   key=lambda letters: width_of(text[:letters] + end, size, weight)) - 1, 0)


def shortened(text, size, width, weight="normal"):
    """The text, cut at the end when it is wider than `width` inches."""
    if width_of(text, size, weight) <= width:
        return text
    return text[:letters_within(text, size, width, weight, "…")] + "…"


def wrapped(text, size, width, weight="normal", most=3):
    """Its lines of at most `width` inches, broken at spaces where there are any; after `most` lines it is cut."""
    lines = []
    while width_of(text, size, weight) > width and len(lines) < most - 1:
        fits = max(letters_within(text, size, width, weight), 1)
        space = text.rfind(" ", 1, fits + 1)
        cut = space if space > 0 else fits
        lines.append(text[:cut])
        text = text[cut:].lstrip(" ")
    return [*lines, shortened(text, size, width, weight)]
