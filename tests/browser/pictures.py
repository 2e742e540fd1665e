"""`python -m tests.browser.pictures`: the README's pictures, docs/images/status.png and explain.png, anew."""

import shutil
import time

from playwright.sync_api import sync_playwright

from testbed.process import ROOT
from tests.browser import world
from tests.browser.conftest import FLAGS, NAMES, serving

IMAGES = ROOT / "docs" / "images"
WORKER = next(number for number, (name, _) in enumerate(world.names()) if name.endswith(".pic.example"))
PICTURES = {"status": "/", "explain": f"/explain?address={world.address(WORKER)}"}


def main() -> None:
    """Take them of the test's little world as it is now."""
    now = time.time()
    path = next(path for name in NAMES if (path := shutil.which(name)))
    with serving(world.site(world.squids(now), now)) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        for name, asked in PICTURES.items():
            page = browser.new_page(
                viewport={"width": 1400, "height": 1000}, device_scale_factor=1.5, color_scheme="light"
            )
            page.goto(url + asked)
            page.screenshot(path=IMAGES / f"{name}.png")
        browser.close()


if __name__ == "__main__":
    main()
