"""Third-party browser files are exactly those that the manifest names, with their licences."""

import hashlib
import json
from pathlib import Path

VENDOR = Path(__file__).parents[3] / "services" / "dashboard" / "static" / "vendor"
MANIFEST = json.loads((VENDOR / "manifest.json").read_text())


def test_every_vendored_file_has_the_sum_of_the_manifest() -> None:
    sums = {entry["file"]: entry["sha256"] for entry in MANIFEST["files"]}
    found = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in VENDOR.iterdir()
        if path.suffix in (".js", ".css")
    }
    assert found == sums


def test_every_vendored_file_has_its_licence_beside_it() -> None:
    for entry in MANIFEST["files"]:
        assert (VENDOR / entry["licence_file"]).stat().st_size > 200


def test_no_page_script_or_style_names_another_host() -> None:
    root = VENDOR.parents[1]
    texts = [
        *root.glob("templates/*.html"),
        *root.glob("static/*.css"),
        *root.glob("static/js/*.js"),
    ]
    naming = [
        path.name
        for path in texts
        if "https://" in path.read_text() or "http://" in path.read_text()
    ]
    assert naming == []
