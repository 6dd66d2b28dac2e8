"""How the localising training of the boxes was chosen: variants on boxes that are not reported.

    python benchmarks/localizing.py [VARIANT ...]

The boxes and the seeds are others than those of `neurosal reproduce boxes` and `moving-box`. Each
line is one training: accuracy, then AUPR and weighted Jaccard of SmoothGrad, and of SmoothGrad
times input averaged over nine steps and nine features. About half a minute of one core a line.
"""

import sys
import time

import numpy as np
from scipy.ndimage import uniform_filter

from neurosal.experiments.boxes import BoxSet, make_boxes
from neurosal.models import NetworkClassifier, Training
from neurosal.saliency.explain import explain
from neurosal.validation.localization_metrics import score_maps

THREE = ((5, 30), (40, 65), (72, 98))
CORNERS = (((0, 55), ((10, 60),)), ((0, 55), ((40, 95),)), ((42, 98), ((10, 60),)))
BOXES = {
    "early": BoxSet((((3, 33), ((15, 85),)),)),
    "late": BoxSet((((62, 96), ((5, 80),)),)),
    "central": BoxSet((((28, 72), ((30, 88),)),)),
    "three": BoxSet((((10, 45), THREE),)),
    "five": BoxSet((*CORNERS, ((42, 98), ((40, 95),)), ((22, 78), ((25, 75),))), n_train=8000),
}
CHOSEN = {"cell": "rnn", "hops": 1, "steps": 480, "input_noise": 20.0, "weight_decay": 0.5}
VARIANTS = {
    "chosen": {},
    "four hops": {"hops": 4},
    "LSTM": {"cell": "lstm"},
    "GRU": {"cell": "gru"},
    "noise 12": {"input_noise": 12.0},
    "noise 30": {"input_noise": 30.0},
    "weight decay .25": {"weight_decay": 0.25},
    "weight decay 1": {"weight_decay": 1.0},
    "nothing hidden": {"time_mask": None},
    "320 steps": {"steps": 320},
    "640 steps": {"steps": 640},
}
BATCH, N_TEST = 64, 30


def train_and_score(boxes, *, cell, hops, steps, seed=901, **training):
    """Train on search boxes; accuracy and the scores of both maps."""
    train, test = make_boxes(boxes, seed=seed, n_test=N_TEST)
    settings = Training(
        batch_size=BATCH,
        max_epochs=-(-steps // -(-len(train.x) // BATCH)),
        **{"time_mask": (0.3, 0.6)} | training,
    )
    classifier = NetworkClassifier(
        f"input-cell-bi-{cell}",
        hidden_size=16,
        network_options={"hops": hops, "positional": True},
        training=settings,
        random_state=seed,
    ).fit(train.x, train.y)
    noise = {"sd": settings.input_noise, "n_samples": 60, "progress": False}
    maps = explain(classifier, test.x, y=test.y, method="smoothgrad", **noise).to_numpy()
    evidence = uniform_filter(maps * test.x, (0, 9, 9))
    scores = [score_maps(own, test.truth).mean() for own in (maps, evidence)]
    accuracy = np.mean(classifier.predict(test.x) == test.y)
    return accuracy, *((s["aupr"], s["weighted_jaccard"]) for s in scores)


def main(names):
    """Print one line for each variant and box."""
    for name in names or VARIANTS:
        for place, boxes in BOXES.items():
            started = time.process_time()
            accuracy, smooth, evidence = train_and_score(boxes, **CHOSEN | VARIANTS[name])
            print(
                f"{name:17} {place:8} accuracy {accuracy:.2f}  SmoothGrad {smooth[0]:.3f} "
                f"{smooth[1]:.3f}  x input {evidence[0]:.3f} {evidence[1]:.3f}  "
                f"{time.process_time() - started:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main(sys.argv[1:])
