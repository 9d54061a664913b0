"""What probes of codes are judged by."""

from __future__ import annotations

import numpy as np

from lungvae_core.evaluation.disentanglement import probes


def test_a_binary_probe_is_judged_by_its_auc_and_worse_than_nothing_is_negative():
    truth = np.c_[[0.0, 0, 1, 1], [1.0, 2, 3, 4]]
    assert probes.score(truth, np.c_[[0.1, 0.2, 0.3, 0.9], truth[:, 1]], [True, False]).tolist() == [1, 1]
    assert probes.score(truth, np.c_[[0.9, 0.8, 0.1, 0.2], truth[::-1, 1]], [True, False])[1] < 0
