from io import BytesIO

import pytest
from matplotlib.figure import Figure
from PIL import Image

from mlplab.figures import animation
from mlplab.figures.animation import MILLISECONDS, MILLISECONDS_OF_LAST, as_frame, as_gif


def frames(n: int) -> list[bytes]:
    figure = Figure(figsize=(1, 1))
    drawn = []
    for place in range(n):
        text = figure.text(0.5, 0.5, str(place), color="#ee6677")
        drawn.append(as_frame(figure))
        text.remove()
    return drawn


def test_every_frame_is_there_and_it_begins_again() -> None:
    with Image.open(BytesIO(as_gif(frames(5)))) as picture:
        assert (picture.n_frames, picture.info["loop"], picture.size) == (5, 0, (100, 100))
        durations = []
        for place in range(5):
            picture.seek(place)
            durations.append(picture.info["duration"])
            assert picture.convert("RGB").getpixel((2, 2)) == (255, 255, 255)
        assert durations == [MILLISECONDS] * 4 + [MILLISECONDS_OF_LAST]


def test_one_frame_is_a_picture() -> None:
    with Image.open(BytesIO(as_gif(frames(1)))) as picture:
        assert getattr(picture, "n_frames", 1) == 1


def test_of_a_file_that_would_be_large_every_other_frame_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = frames(8)
    whole = as_gif(drawn)
    monkeypatch.setattr(animation, "MOST_BYTES", len(whole) - 1)
    with Image.open(BytesIO(as_gif(drawn))) as picture, Image.open(BytesIO(whole)) as before:
        assert picture.n_frames == 4
        picture.seek(3)
        before.seek(7)  # the last one stays
        assert picture.convert("RGB").tobytes() == before.convert("RGB").tobytes()
