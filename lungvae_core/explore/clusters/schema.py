"""The schema of clusters.json, as the Clusters page, the map and its routes need it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from lungvae_core.explore.clusters.methods import METHODS, NOISE
from lungvae_core.explore.clusters.words import WORDS
from lungvae_core.schema import Count, Interval, Number, Part, Share

MOST = 1_000  # clusters of a method
Unit = Literal["nodule", "slice"]


class Ends(Part):
    """The fewest and the most clusters of several draws."""

    low: Count
    high: Count


class Compared(Part):
    """Agreement of clusters with an attribute, and that of shuffles."""

    value: Number
    null: Number
    null_high: Number
    p: Number


class Shared(Compared):
    """How often two lesions of one patient share a cluster, beside two of different patients."""

    others: Number
    pairs: Count


class Attribute(Part):
    """One attribute, with which clusters are compared."""

    name: str
    title: str
    kind: str
    units: Count
    groups: Count
    nmi: Compared
    ami: Compared
    purity: Compared | None = None
    shared: Shared | None = None

    @model_validator(mode="after")
    def _of_its_name(self) -> Attribute:
        if self.name == "malignancy" and self.purity is None:
            raise ValueError("malignancy without its purity")
        return self


class Difference(Interval):
    """How a cluster differs from the rest in a property, in standard deviations."""

    name: str

    @model_validator(mode="after")
    def _has_words(self) -> Difference:
        if self.name not in WORDS:
            raise ValueError("a property without words")
        return self


class Quartiles(Part):
    """Diameters in mm."""

    median: Number
    low: Number
    high: Number


class Cluster(Part):
    """One cluster in figures and words."""

    cluster: Count
    unit: Unit
    units: Count
    share: Share
    nodules: Count
    patients: Count
    labelled: Count
    malignant: Interval
    malignant_of_all: Number | None
    diameter_mm: Quartiles | None
    differences: list[Difference]
    typical: Annotated[list[Count], Field(min_length=1)]
    name: str
    words: str
    jaccard: Interval

    @model_validator(mode="after")
    def _of_all(self) -> Cluster:
        if self.malignant.value is not None and self.malignant_of_all is None:
            raise ValueError("a share without that of all")
        return self


class CountTried(Part):
    """A number of clusters that was tried."""

    k: Count
    silhouette: Number | None
    inertia: Number
    featureless: Interval
    ami: dict[str, Number | None]


class RadiusTried(Part):
    """A radius that was tried."""

    radius: Number
    silhouette: Number | None


class Stability(Part):
    """Of draws of patients."""

    rand: Interval
    clusters: Ends


class Featureless(Part):
    """Of codes without groups."""

    clusters: Ends
    silhouette: Interval
    rand: Interval


class Method(Part):
    """One method's clusters."""

    title: str
    settings: dict[str, Number | str]
    chosen_by: str
    curve: list[CountTried] | list[RadiusTried]
    count: Annotated[int, Field(ge=0, le=MOST)]
    noise: Share
    silhouette: Number | None
    stability: Stability
    featureless: Featureless
    attributes: list[Attribute]
    clusters: list[Cluster]
    members: list[Annotated[int, Field(ge=NOISE, lt=MOST)]]

    @model_validator(mode="after")
    def _consistent(self) -> Method:
        if [each.cluster for each in self.clusters] != list(range(self.count)):
            raise ValueError("clusters that are not numbered from 0 to their count")
        if set(self.members) - {NOISE} != set(range(self.count)):
            raise ValueError("members of other clusters")
        if any(number >= len(self.members) for each in self.clusters for number in each.typical):
            raise ValueError("a typical lesion that is none of them")
        if self.count > 1 and self.featureless.silhouette.value is not None and self.silhouette is None:
            raise ValueError("clusters without a silhouette")
        needed = {"k", "elbow"} if "k" in self.settings else {"radius"}
        numbers = {name for name, value in self.settings.items() if not isinstance(value, str)}
        if self.curve and not needed <= numbers:
            raise ValueError("settings that lack what was tried")
        if self.curve and ("k" in self.settings) != isinstance(self.curve[0], CountTried):
            raise ValueError("settings of another kind than what was tried")
        if len({frozenset(getattr(each, "ami", ())) for each in self.curve}) > 1:
            raise ValueError("tries compared with different attributes")
        return self


class Labelled(Part):
    """How many have a label."""

    units: Count
    malignant: Count


class MapQuality(Part):
    """Trustworthiness and continuity of a map."""

    unit: Unit
    title: str
    lesions: Count
    neighbours: list[Count]
    trustworthiness: list[Number]
    continuity: list[Number]


class ClustersReport(Part):
    """clusters.json."""

    format: Count
    space: str
    sample: list[Count] | None
    rows: Annotated[list[Count], Field(min_length=1)]
    codes: str
    quick: bool
    labels_shaped_codes: bool
    maps: list[MapQuality]
    unit: Unit
    units: Count
    patients: Count
    dimensions: Count
    label_rule: str
    labelled: Labelled
    seed: Count
    resamples: Count
    permutations: Count
    featureless: Count
    methods: dict[str, Method]

    @model_validator(mode="after")
    def _consistent(self) -> ClustersReport:
        if not set(METHODS) <= self.methods.keys():
            raise ValueError("not every method")
        lists = [self.rows if self.sample is None else self.sample]
        lists += [each.members for each in self.methods.values()]
        if any(len(each) != len(self.rows) for each in lists):
            raise ValueError("lists of different lengths")
        return self
