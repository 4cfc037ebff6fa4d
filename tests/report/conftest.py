"""One real Chromium for all tests of the page; they skip where it cannot be had."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import small_sweep

from launch.report.page import write_page

HERE = Path(__file__).parent
SWITCHES = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
READY = "return document.documentElement.dataset.ready === 'yes'"


def why_not() -> str | None:
    """The reason why no Chromium can be started here, or None."""
    if shutil.which("chromium") and shutil.which("chromedriver"):
        return None
    if shutil.which("apt-get") is None:
        return "Chromium is not installed, and there is no apt-get to install it with"
    if os.geteuid() == 0:
        return None
    sudo = shutil.which("sudo")
    can_install = (
        sudo
        and subprocess.run([sudo, "-n", "true"], capture_output=True, check=False).returncode == 0
    )
    return None if can_install else "Chromium is not installed, and installing it needs root"


class Browser:
    """The browser, and what it said and fetched since a page was opened."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, path: Path, fragment: str = "", width: int = 1280) -> None:
        """Open a page at a width in pixels, and wait until its charts are drawn."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.get("about:blank")
        self.driver.get_log("browser")
        self.driver.get_log("performance")
        self.driver.get(path.resolve().as_uri() + fragment)
        self.wait(READY)

    def script(self, text: str, *arguments: Any) -> Any:
        """The value of a script in the page."""
        return self.driver.execute_script(text, *arguments)

    def wait(self, condition: str, seconds: float = 60) -> None:
        """Wait until a script returns true."""
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.driver, seconds, 0.1).until(lambda _: self.script(condition))

    def choose(self, id: str, value: str) -> None:
        """Choose an option of a selector, as a user does."""
        self.script(
            "const box = document.getElementById(arguments[0]); box.value = arguments[1];"
            "box.dispatchEvent(new Event('change', {bubbles: true}))",
            id,
            value,
        )

    def chart(self, id: str) -> list[dict[str, Any]]:
        """The traces of a chart."""
        text = self.script(f"return JSON.stringify(document.getElementById({id!r}).data)")
        traces: list[dict[str, Any]] = json.loads(text)
        return traces

    def complaints(self) -> list[str]:
        """What the console says that is no information."""
        entries = self.driver.get_log("browser")
        return [entry["message"] for entry in entries if entry["level"] != "INFO"]

    def requests(self) -> list[str]:
        """The addresses that were asked for and are neither files nor data."""
        addresses = []
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                addresses.append(message["params"]["request"]["url"])
        own = ("file:", "data:", "blob:", "about:")
        return [address for address in addresses if not address.startswith(own)]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    reason = why_not()
    if reason:
        pytest.skip(reason)
    subprocess.run([HERE / "up.sh"], check=True)
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    for switch in SWITCHES:
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    options.binary_location = str(shutil.which("chromium"))
    service = webdriver.ChromeService(str(shutil.which("chromedriver")))
    driver = webdriver.Chrome(options=options, service=service)
    try:
        yield Browser(driver)
    finally:
        driver.quit()


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Writes one of the examples once; returns its folder."""
    logs = tmp_path_factory.mktemp("logs")

    def write(name: str) -> Path:
        folder = logs / name
        return folder if folder.exists() else small_sweep.EXAMPLES[name]().write(folder)

    return write


@pytest.fixture(scope="session")
def report(example: Callable[[str], Path]) -> Callable[[str], Path]:
    """Writes the page of one of the examples once; returns its path."""
    paths: dict[str, Path] = {}

    def write(name: str) -> Path:
        if name not in paths:
            paths[name], _ = write_page(example(name))
        return paths[name]

    return write
