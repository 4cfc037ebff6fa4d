"""The columns of the measuring trainers: a row's `epoch` is its unit in the whole measure, `step`
the position inside the unit, and `examples` the samples behind `loss` and `wrong`.
"""

from __future__ import annotations

from trainers.schema import Metric

RADIUS = (
    Metric("radius", "float32", "1", "coordinate where the loss first exceeds the cut; null: none"),
    Metric("radius_l2", "float32", "1", "radius times the length of the direction"),
    Metric("status", "int32", "1", "0: crossed, 1: never up to c_max, 2: undefined, 3: audit"),
    Metric("evaluations", "int32", "1", "evaluations of the samples for this direction"),
    Metric("audit_radius", "float32", "1", "radius by the full scan, where it was made"),
)
VOLUME = (
    Metric("log10_term", "float32", "log10", "log10 of omega_n multiplier^n det P: a lower bound"),
    Metric("log10_prob_gauss", "float32", "log10", "log10 of the term of the Gaussian measure"),
    Metric("log10_det", "float32", "log10", "log10 of det P, which log10_term includes"),
    Metric("proposal_norm", "float32", "1", "length of the proposal P u"),
    Metric("multiplier", "float32", "1", "proposals up to the first crossing; c_max where none"),
    Metric("status", "int32", "1", "0: crossed, 1: never up to c_max, 2: undefined"),
    Metric("evaluations", "int32", "1", "evaluations of the samples for this proposal"),
)
SURFACE = (
    Metric("x", "float32", "1", "coordinate along the first direction"),
    Metric("y", "float32", "1", "coordinate along the second direction"),
    Metric("loss", "float32", "nats", "mean cross-entropy; null above the cap"),
    Metric("wrong", "int32", "samples", "wrong answers; null above the cap"),
    Metric("capped", "int32", "1", "1: the loss is above the cap, else 0"),
)
LINE = (
    Metric("t", "float32", "1", "place on the line: 0 is the cell, 1 the other cell"),
    Metric("loss", "float32", "nats", "mean cross-entropy on the clean training samples"),
    Metric("test_loss", "float32", "nats", "mean cross-entropy on the test set"),
    Metric("wrong", "int32", "samples", "wrong answers on the clean training samples"),
    Metric("test_wrong", "int32", "samples", "wrong answers on the test set"),
    Metric("test_examples", "int32", "samples", "samples behind test_loss and test_wrong"),
)
PATH = (
    Metric("x", "float32", "1", "coordinate along the first principal component"),
    Metric("y", "float32", "1", "coordinate along the second principal component"),
    Metric("off_plane", "float32", "1", "distance from the plane, relative to that from the end"),
    Metric("loss", "float32", "nats", "mean cross-entropy of the snapshot itself"),
    Metric("wrong", "int32", "samples", "wrong answers of the snapshot itself"),
    Metric("snapshot_epoch", "int32", "epochs", "epoch of the snapshot in its training"),
    Metric("explained_x", "float32", "1", "share of the path's variance along x"),
    Metric("explained_y", "float32", "1", "share of the path's variance along y"),
)


def _hessian(suffix: str, unit: str) -> tuple[Metric, ...]:
    """Columns of the Hessian in parameters or in filter units, which `suffix` marks."""
    meanings = {
        "lambda_max": "largest eigenvalue of the Hessian",
        "lambda_min": "smallest eigenvalue of the Hessian",
        "trace": "trace of the Hessian, estimate of one probe",
        "eigenvalue": "place in the spectrum",
    }
    metrics = []
    for name, meaning in meanings.items():
        text = f"{meaning}, per squared {unit}"
        metrics.append(Metric(f"{name}{suffix}", "float32", "nats", text))
    share = "spectral density there: share of eigenvalues per unit of eigenvalue"
    return (*metrics, Metric(f"density{suffix}", "float32", "1 / nats", share))


CURVATURE = (
    *_hessian("", "parameter"),
    *_hessian("_scaled", "filter unit"),
    Metric("products", "int32", "1", "products of the Hessian with a vector"),
    Metric("residual", "float32", "1", "largest |H v - lambda v| / |lambda| of the eigenpairs"),
)
SHARPNESS = (
    Metric("sharpness_one_step", "float32", "nats", "rise of the loss after rho along its slope"),
    Metric("sharpness_ascent", "float32", "nats", "largest rise in an ascent inside the ball"),
    Metric("keskar", "float32", "%", "sharpness phi of Keskar et al. (2017)"),
)
BOUNDARY = (
    Metric("frame", "int32", "1", "number of the frame"),
    Metric("x_index", "int32", "1", "column of the grid"),
    Metric("y_index", "int32", "1", "row of the grid"),
    Metric("margin", "float32", "logits", "logit of class 1 minus that of class 0"),
    Metric("c", "float32", "1", "coordinate of the weights along the direction, a row a frame"),
    Metric("loss", "float32", "nats", "mean cross-entropy of the frame's weights, a row a frame"),
    Metric("accuracy", "float32", "1", "right training samples / all, a row a frame"),
    Metric("lambda_max_scaled", "float32", "nats", "largest eigenvalue in filter units"),
    Metric("point_x", "float32", "1", "first input of a sample, a row a sample"),
    Metric("point_y", "float32", "1", "second input of a sample, a row a sample"),
    Metric("point_label", "int32", "1", "label of a sample, a row a sample"),
)
FOURIER = (
    Metric("snapshot_step", "int32", "steps", "step of the snapshot in its training"),
    Metric("train_loss", "float32", "nats", "mean cross-entropy on the training rows"),
    Metric("test_loss", "float32", "nats", "mean cross-entropy on the test rows"),
    Metric("restricted_loss", "float32", "nats", "of the key frequencies' waves alone, all rows"),
    Metric("excluded_loss", "float32", "nats", "without these waves, on the training rows"),
    Metric("gini_embedding", "float32", "1", "of the norms of the embedding's Fourier components"),
    Metric("gini_output", "float32", "1", "the same of the map from hidden units to logits"),
    Metric("frequency", "int32", "1", "periods over the p residues, a row a frequency"),
    Metric("power_share", "float32", "1", "share of the frequency in the variance of the waves"),
    Metric("is_key", "int32", "1", "1: a key frequency, by the final weights, else 0"),
)
