"""Debian's chromium without a window, driven over the pipe that --remote-debugging-pipe opens (DevTools protocol)."""

import base64
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MISSING = "no chromium on the PATH (apt-get install chromium)"


class Browser:
    """One page of a running chromium. Messages are JSON ended by a NUL byte."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self.to_browser = os.fdopen(to_browser, "wb")
        self.from_browser = os.fdopen(from_browser, "rb")
        self.count = 0
        self.session: str | None = None
        self.pending: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command's result; events that arrive before it are kept in ``pending``."""
        self.count += 1
        message = {"id": self.count, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        self.to_browser.write(json.dumps(message).encode() + b"\0")
        self.to_browser.flush()
        while (answer := self._read()).get("id") != self.count:
            self.pending.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def open(self, page: Path, width: int, height: int, dark: bool = False) -> list[str]:
        """Shows a page at a width in CSS pixels; the addresses that it asked for."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.pending.clear()
        self.call("Page.navigate", url=page.resolve().as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.pending):
            self.pending.append(self._read())
        sent = (event for event in self.pending if event.get("method") == "Network.requestWillBeSent")
        return [event["params"]["request"]["url"] for event in sent]

    def evaluate(self, expression: str) -> Any:
        """What an expression of JavaScript gives."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def screenshot(self, path: Path) -> None:
        """The whole page, as a PNG."""
        answer = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(answer["data"]))

    def pdf(self) -> bytes:
        """The page as it would be printed."""
        return base64.b64decode(self.call("Page.printToPDF", paperWidth=8.27, paperHeight=11.69)["data"])

    def _read(self) -> dict[str, Any]:
        message = bytearray()
        while (byte := self.from_browser.read(1)) != b"\0":
            assert byte, "chromium went away"
            message += byte
        return json.loads(message)


@contextmanager
def browser() -> Iterator[Browser]:
    """Starts chromium, and ends it."""
    assert CHROMIUM, MISSING
    command_in, command_out = os.pipe()
    answer_in, answer_out = os.pipe()
    with tempfile.TemporaryDirectory() as profile:

        def give_pipes() -> None:
            # Chromium reads commands at descriptor 3 and answers at 4.
            spare_in, spare_out = os.dup(command_in), os.dup(answer_out)
            os.dup2(spare_in, 3)
            os.dup2(spare_out, 4)

        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
        process = subprocess.Popen(
            [CHROMIUM, *options, "--remote-debugging-pipe", f"--user-data-dir={profile}", "--no-first-run"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            preexec_fn=give_pipes, pass_fds=(3, 4),
        )  # fmt: skip
        os.close(command_in)
        os.close(answer_out)
        try:
            yield Browser(command_out, answer_in)
        finally:
            process.terminate()
            process.wait(timeout=120)
