"""Small pictures as PNG bytes.

What belongs here: a figure without global state, and its bytes. What does not: what is drawn (``evaluation.plots``,
``drift.pictures``).
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, ACCENT, QUIET = "#1f2933", "#1f6feb", "#9aa5b1"
_COLORS = 48


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of ``width`` times ``height`` hundred pixels."""
    from matplotlib.figure import Figure

    # The object interface keeps no global state, so plots are safe in any thread and need no display.
    return Figure(figsize=(width, height), dpi=100)


def png_bytes(figure: Figure) -> bytes:
    """The figure as a PNG of few colours; the same figure gives the same bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    # Drawn once into memory: saving would draw the figure twice, and encode and decode it on the way.
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    image = Image.frombuffer("RGBA", canvas.get_width_height(), canvas.buffer_rgba(), "raw", "RGBA", 0, 1)
    small = io.BytesIO()
    # Few colours, so that a picture embedded in an event stays small.
    few = image.convert("RGB").quantize(_COLORS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    few.save(small, "PNG")
    return small.getvalue()
