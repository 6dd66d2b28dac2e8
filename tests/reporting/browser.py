"""A headless browser for the tests of pages: load one in a frame, act on it, and read it."""

import html
import json
import re
import shutil
import subprocess

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]


def browse(tmp_path, url, *options):
    """Run the browser once and return what it prints."""
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", *options, url]
    return subprocess.run(command, capture_output=True, timeout=100, check=True).stdout


def in_frame(tmp_path, text, script, *, width=1000, height=900):
    """Load a page in a frame, run a script that fills ``out`` with the frame's ``page``."""
    frame = f"""<!DOCTYPE html><iframe id="page" width="{width}" height="{height}"
      srcdoc="{html.escape(text)}"></iframe><pre id="out"></pre>
    <script>
    onload = () => {{
      const frame = document.getElementById("page"), page = frame.contentDocument, out = {{}};
      {script}
      document.getElementById("out").textContent = JSON.stringify(out);
    }};
    </script>"""
    path = tmp_path / "frame.html"
    path.write_text(frame, encoding="utf-8")
    printed = browse(tmp_path, path.as_uri(), "--dump-dom").decode()
    return json.loads(html.unescape(re.search(r'<pre id="out">(.*?)</pre>', printed, re.S)[1]))
