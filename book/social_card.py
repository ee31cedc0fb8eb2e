"""Draws the card that chat programs show beside a link to the book: its title, and ALGAN's map of the plane.

python book/social_card.py            # writes book/_static/social-card.png; the map comes from readme.png
"""

import argparse
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

STATIC = Path(__file__).parent / "_static"
SIZE = (1200, 630)  # pixels, the size that all programs show without cutting
INK, BLUE = "#1A1A1A", "#0072B2"
LINES = (("minigan", 92, BLUE), ("Anomaly detection", 52, INK), ("with GANs", 52, INK))
BELOW = "A book that runs, and the library beside it"


def draw(picture: Path) -> Image.Image:
    """The card, with the right half of the README's picture."""
    whole = Image.open(picture).convert("RGB")
    right = whole.crop((whole.width // 2, 0, *whole.size))
    side = SIZE[1] - 60
    right.thumbnail((side, side), Image.Resampling.LANCZOS)
    card = Image.new("RGB", SIZE, "white")
    card.paste(right, (SIZE[0] - right.width - 30, (SIZE[1] - right.height) // 2))
    pen, top = ImageDraw.Draw(card), 150
    for text, size, color in LINES:
        pen.text((60, top), text, fill=color, font=ImageFont.load_default(size))
        top += round(1.35 * size)
    pen.text((60, top + 60), BELOW, fill=INK, font=ImageFont.load_default(25))
    return card.quantize(64, dither=Image.Dither.NONE)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=STATIC / "social-card.png", help="the file to write")
    arguments = parser.parse_args()
    draw(STATIC / "readme.png").save(arguments.out, optimize=True)
    print(arguments.out)
