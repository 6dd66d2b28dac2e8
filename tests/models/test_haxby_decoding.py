import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import GroupKFold, cross_val_predict

from neurosal.models.classifier import InputCellClassifier

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_defaults_decode_object_categories():
    if "NEUROSAL_TEST_DATA" not in os.environ:
        pytest.skip("NEUROSAL_TEST_DATA is not set")
    path = ROOT / "benchmarks" / "haxby.py"
    specification = importlib.util.spec_from_file_location("haxby_benchmark", path)
    benchmark = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(benchmark)
    data = Path(os.environ["NEUROSAL_TEST_DATA"]) / "haxby2001-slice"
    windows = benchmark.load_windows(data)
    assert windows.shape == (96, 11, 530)
    y, runs = windows["condition"].to_numpy(), windows["run"].to_numpy()
    cv = GroupKFold(6)
    predicted = cross_val_predict(InputCellClassifier(), windows, y, groups=runs, cv=cv)
    assert np.mean(predicted == y) > 0.5
