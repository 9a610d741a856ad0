"""Animations of figures, as looping GIF files."""

from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING

from PIL import Image

from mlplab.plots import without_glyph_warnings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS_PER_INCH = 100
"""Coarser than of a picture that stands still: a file has dozens of frames."""

MILLISECONDS = 150
"""Duration of each frame."""

MILLISECONDS_OF_LAST = 2500
"""Duration of the last frame, which shows what was learned in the end."""

COLOURS = 64
"""Colours of all frames together."""

NEARLY_WHITE = 247
"""Level of all three channels above which a colour is made white."""

MOST_BYTES = 1_000_000
"""Largest size of a file. Of one that would be larger, every other frame is left out."""


def as_frame(figure: "Figure") -> bytes:
    """Draws a figure as a PNG, of the same size each time."""
    buffer = BytesIO()
    with without_glyph_warnings():
        figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, pil_kwargs={"compress_level": 1})
    return buffer.getvalue()


def as_gif(frames: Sequence[bytes]) -> bytes:
    """Encodes PNGs of one size as an animation that begins again at its end.

    All frames have the colours of the last one, the most varied: with colours of its own, each would flicker.
    """
    drawn = [Image.open(BytesIO(frame)).convert("RGB") for frame in frames]
    palette = drawn[-1].quantize(COLOURS, dither=Image.Dither.NONE)
    # Pillow looks for the nearest colour roughly: of several near white, it would not always take the paper's.
    numbers = palette.getpalette() or []
    whitened = [255 if min(numbers[n - n % 3 : n - n % 3 + 3]) > NEARLY_WHITE else v for n, v in enumerate(numbers)]
    palette.putpalette(whitened)
    # Without dithering, as noise would make the file several times as large.
    first, *others = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in drawn]
    buffer = BytesIO()
    durations = [MILLISECONDS] * len(others) + [MILLISECONDS_OF_LAST]
    first.save(buffer, format="GIF", save_all=True, append_images=others, duration=durations, loop=0)
    if buffer.tell() > MOST_BYTES and len(drawn) > 2:
        return as_gif(frames[(len(frames) - 1) % 2 :: 2])  # the last one stays
    return buffer.getvalue()
