"""Pictures of a run's report for the README: ``python docs/make_screenshots.py RUN``. Needs Chromium on the PATH."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PICTURES = {"report.png": (1180, 740)}
"""Files in docs/images, and the width and height in pixels that they show of the page, from its top."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def shoot(page: Path, picture: Path, size: tuple[int, int]) -> None:
    """Have a browser without a window write the top of a page as a PNG file."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit(f"no browser: install one of {', '.join(BROWSERS)}")
    with tempfile.TemporaryDirectory() as profile:
        options = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            f"--user-data-dir={profile}",
        ]
        options += [f"--window-size={size[0]},{size[1]}", f"--screenshot={picture}", page.resolve().as_uri()]
        subprocess.run([browser, *options], check=True, capture_output=True)


def main() -> None:
    """Write the pictures of a run's report."""
    page = Path(sys.argv[1]) / "report" / "report" / "report.html"
    folder = Path(__file__).parent / "images"
    folder.mkdir(exist_ok=True)
    for name, size in PICTURES.items():
        shoot(page, folder / name, size)


if __name__ == "__main__":
    main()
