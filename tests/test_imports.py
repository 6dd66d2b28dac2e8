"""The house's shape: the direction of the imports, and what importing costs."""

import subprocess
import sys
from pathlib import Path

import neurosal

ROOT = Path(neurosal.__file__).parents[1]


def test_stages_import_only_to_their_left(monkeypatch):
    from importlinter.cli import lint_imports

    monkeypatch.chdir(ROOT)
    assert lint_imports(no_cache=True) == 0


def test_loading_projecting_and_plotting_do_not_wait_for_torch():
    code = (
        "import sys, neurosal; neurosal.find_hcp_runs, neurosal.load_atlas, neurosal.to_nifti; "
        "import neurosal.reporting.figures, neurosal.cli; print('torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


def test_every_public_name_resolves():
    for name in neurosal.__all__:
        assert getattr(neurosal, name) is not None
