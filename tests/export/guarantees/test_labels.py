"""Temperature, calibration error and p-values of labels, on classes whose probabilities are known."""

import numpy as np
import pytest

from export.class_labels import NONE
from export.guarantees.labels import (
    calibration_error,
    fit_tempering,
    label_references,
    log_probabilities,
    right_probabilities,
)

CLASSES = 5


def calibrated(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """True log-probabilities of classes (N, Y), and labels drawn from them (N,)."""
    rng = np.random.default_rng(seed)
    log_p = log_probabilities(rng.normal(0, 3, (count, CLASSES)), 1.0)
    labels = (rng.uniform(size=(count, 1)) > np.exp(log_p).cumsum(1)).sum(1).clip(max=CLASSES - 1)
    return log_p, labels.astype(np.int64)


def flipped(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """The labels with a share of them changed to another class at random."""
    rng = np.random.default_rng(seed)
    change = rng.uniform(size=len(labels)) < share
    return np.where(change, (labels + rng.integers(1, CLASSES, len(labels))) % CLASSES, labels)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_the_temperature_that_was_applied_is_found(temperature: float) -> None:
    log_p, labels = calibrated(6000, 0)
    found = fit_tempering(temperature * log_p, labels)
    assert found.temperature == pytest.approx(temperature, rel=0.08)
    assert found.wrong < 0.01
    # the fitted probabilities are calibrated on other images
    log_p, labels = calibrated(6000, 1)
    tempered = np.exp(log_probabilities(temperature * log_p, found.temperature))
    assert calibration_error(tempered, labels) < 0.02


def test_wrong_labels_are_counted_and_do_not_make_classes_unsure() -> None:
    log_p, labels = calibrated(8000, 2)
    found = fit_tempering(3.0 * log_p, flipped(labels, 0.1, 3))
    assert found.temperature == pytest.approx(3.0, rel=0.15)
    assert found.wrong == pytest.approx(0.1, abs=0.03)


def test_images_without_a_label_do_not_count() -> None:
    log_p, labels = calibrated(500, 4)
    some = np.where(np.arange(500) % 2 == 0, labels, NONE)
    assert fit_tempering(log_p, some) == fit_tempering(log_p[::2], labels[::2])
    probability = np.exp(log_p)
    assert calibration_error(probability, some) == calibration_error(probability[::2], labels[::2])
    assert fit_tempering(log_p, np.full(500, NONE)) == (1.0, 0.0)


def test_calibration_error_is_that_of_a_double_loop() -> None:
    log_p, labels = calibrated(700, 5)
    probability = np.exp(log_p) ** 2
    probability /= probability.sum(1, keepdims=True)
    expected = 0.0
    for low in range(15):
        chosen = [
            i
            for i in range(700)
            if low / 15 <= probability[i].max() < (low + 1) / 15 or (low == 14 and probability[i].max() == 1)
        ]
        if chosen:
            right = np.mean([probability[i].argmax() == labels[i] for i in chosen])
            expected += len(chosen) / 700 * abs(right - np.mean([probability[i].max() for i in chosen]))
    assert calibration_error(probability, labels) == pytest.approx(expected)


def test_the_probability_that_a_label_is_right_is_bayes_rule() -> None:
    log_p, labels = calibrated(20_000, 6)
    given = flipped(labels, 0.2, 7)
    right = right_probabilities(log_p, given, 0.2)
    for low in (0.0, 0.25, 0.5, 0.75):
        chosen = (right >= low) & (right < low + 0.25)
        share = (given == labels)[chosen].mean()
        assert share == pytest.approx(right[chosen].mean(), abs=4 * 0.5 / chosen.sum() ** 0.5)
    np.testing.assert_array_equal(right_probabilities(log_p, labels, 0.0), 1.0)


def test_p_values_of_right_labels_hold_in_every_class() -> None:
    references = calibrated(2500, 8)
    log_p, labels = calibrated(20_000, 9)
    own = references[0][np.arange(2500), references[1]]
    titles = tuple("abcde")
    classes = label_references(own, references[1], np.ones(2500), titles)
    assert not classes.few
    for index, title in enumerate(titles):
        reference = classes.own[title]
        rows = labels == index
        p = reference.values[reference.ranks((-log_p[rows, index]).astype(np.float32))]
        # by brute force: p = (1 + #{calibration images of the class that suit it no better}) / (n + 1)
        of_class = own[references[1] == index]
        expected = [(1 + (of_class <= value).sum()) / (len(of_class) + 1) for value in log_p[rows, index][:50]]
        np.testing.assert_allclose(p[:50], expected, atol=1.5 / len(of_class))  # float32 scores
        assert (p <= 0.1).mean() < 0.1 + 4 * (0.09 / rows.sum() + 0.09 / len(of_class)) ** 0.5


def test_weights_take_wrong_labels_out_of_the_reference() -> None:
    log_p, labels = calibrated(6000, 10)
    given = flipped(labels, 0.1, 11)
    weights = right_probabilities(log_p, given, 0.1)
    own = log_p[np.arange(6000), given]
    titles = tuple("abcde")
    weighted = label_references(own, given, weights, titles)
    unweighted = label_references(own, given, np.ones(6000), titles)
    clean_p, clean = calibrated(20_000, 12)
    shares = []
    for classes in (weighted, unweighted):
        p = np.empty(20_000)
        for index, title in enumerate(titles):
            rows = np.flatnonzero(clean == index)
            p[rows] = classes.own[title].values[classes.own[title].ranks((-clean_p[rows, index]).astype(np.float32))]
        shares.append((p <= 0.1).mean())
    assert shares[0] == pytest.approx(0.1, abs=0.02)  # as if the labels were right
    assert shares[1] < 0.06  # conservative


def test_a_class_with_few_calibration_images_is_ranked_among_all() -> None:
    labels = np.array([0] * 30 + [1] * 5)
    classes = label_references(-np.arange(35.0), labels, np.ones(35), ("many", "few"))
    assert set(classes.own) == {"many"}
    assert classes.few == {"few": 5}
    assert classes.everything.size == 35
