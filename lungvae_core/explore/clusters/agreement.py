"""Agreement of clusters with attributes of their lesions, compared with chance.

NMI and AMI with the arithmetic mean of the entropies (Vinh, Epps & Bailey 2010). NMI is above 0 by chance,
the more so the more groups there are: with hundreds of patients it is high for any clusters. AMI corrects for
that. Both are compared with values for the shuffled attribute: what belongs to a lesion between patients, so
that a patient's lesions stay together; patients themselves between lesions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy.special import xlogy
from sklearn.metrics.cluster import expected_mutual_information

from lungvae_core.explore.clusters.attributes import Attribute
from lungvae_core.statistics.intervals import against_null

Table = np.ndarray  # (C, G) how many of cluster c are in group g


def agreement(
    members: np.ndarray,
    attribute: Attribute,
    patients: np.ndarray,
    *,
    permutations: int = 1000,
    seed: int = 0,
) -> dict[str, Any] | None:
    """NMI and AMI of clusters (M,) with an attribute, their null and a one-sided p; None with one cluster.

    Lesions in no cluster count as a cluster of their own. Of malignancy also the purity: the share of
    lesions that are of their cluster's most frequent group; of patients also how often two lesions of one
    patient share a cluster, and two of different patients.
    """
    rated, clusters, groups = _numbered(members, attribute)
    table = _table(clusters, groups)
    if min(table.shape) < 2:
        return None
    figures = _figures(attribute, table)
    generator = np.random.default_rng(seed)
    shuffles = (
        (generator.permutation(groups) for _ in range(permutations))
        if attribute.name == "patient"
        else _between_patients(groups, patients[rated], permutations, generator)
    )
    null = [
        [figure(other) for figure in figures.values()]
        for other in (_table(clusters, shuffled, table.shape) for shuffled in shuffles)
    ]
    compared: dict[str, Any] = {
        "name": attribute.name,
        "title": attribute.title,
        "kind": attribute.kind,
        "units": int(rated.sum()),
        "groups": table.shape[1],
    }
    for at, (name, figure) in enumerate(figures.items()):
        value = figure(table)
        compared[name] = {"value": value, **against_null(value, np.array(null)[:, at])}
    if "shared" in compared:
        pairs, same, in_cluster, in_both = (
            float((counts * (counts - 1) / 2).sum())
            for counts in (table.sum(), table.sum(0), table.sum(1), table)
        )
        compared["shared"]["others"] = (in_cluster - in_both) / max(pairs - same, 1)
        compared["shared"]["pairs"] = int(same)
    return compared


def _figures(attribute: Attribute, table: Table) -> dict[str, Callable[[Table], float]]:
    """The figures of an attribute by name, each of a table of the same groups."""
    figures: dict[str, Callable[[Table], float]] = {"nmi": _nmi(table), "ami": _ami(table)}
    if attribute.name == "malignancy":
        figures["purity"] = lambda other: float(other.max(1).sum() / other.sum())
    if attribute.name == "patient" and (table.sum(0) > 1).any():
        figures["shared"] = _shared
    return figures


def ami(members: np.ndarray, attribute: Attribute) -> float:
    """The adjusted mutual information of clusters (M,) with an attribute, over lesions where it is known."""
    _, clusters, groups = _numbered(members, attribute)
    table = _table(clusters, groups)
    return _ami(table)(table) if min(table.shape) > 1 else 0.0


def _numbered(members: np.ndarray, attribute: Attribute) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """((M,) bool, which lesions have the attribute; their clusters and groups, each numbered from 0)."""
    rated = attribute.groups >= 0
    clusters, groups = (
        np.unique(each[rated], return_inverse=True)[1] for each in (members, attribute.groups)
    )
    return rated, clusters, groups


def _table(clusters: np.ndarray, groups: np.ndarray, shape: tuple[int, ...] | None = None) -> Table:
    down, across = shape or (clusters.max() + 1, groups.max() + 1)
    return np.bincount(clusters * across + groups, minlength=down * across).reshape(down, across)


def _mutual_information(table: Table) -> float:
    """In nats."""
    total = table.sum()
    terms = [xlogy(part, part).sum() / total for part in (table, table.sum(0), table.sum(1))]
    return max(float(terms[0] - terms[1] - terms[2] + np.log(total)), 0.0)


def _mean_entropy(table: Table) -> float:
    total = table.sum()
    each = [np.log(total) - xlogy(part, part).sum() / total for part in (table.sum(0), table.sum(1))]
    return float(np.mean(each))


def _nmi(table: Table) -> Callable[[Table], float]:
    """NMI of any table with the same sums of rows and columns."""
    most = max(_mean_entropy(table), 1e-12)
    return lambda other: _mutual_information(other) / most


def _ami(table: Table) -> Callable[[Table], float]:
    """AMI of any table with the same sums of rows and columns, of which chance and entropies depend."""
    expected = float(expected_mutual_information(table.astype(np.int64), int(table.sum())))
    most = max(_mean_entropy(table) - expected, 1e-12)
    return lambda other: (_mutual_information(other) - expected) / most


def _shared(table: Table) -> float:
    """The share of pairs of one group that are in one cluster."""
    groups = table.sum(0)
    return float((table * (table - 1)).sum() / (groups * (groups - 1)).sum())


def _between_patients(
    groups: np.ndarray, patients: np.ndarray, count: int, generator: np.random.Generator
) -> Iterator[np.ndarray]:
    """Groups laid out over the lesions anew, patient by patient in another order."""
    names, patient = np.unique(patients, return_inverse=True)
    place = np.argsort(patient, kind="stable")
    for _ in range(count):
        order = np.argsort(generator.permutation(len(names))[patient], kind="stable")
        shuffled = np.empty_like(groups)
        shuffled[place] = groups[order]
        yield shuffled
