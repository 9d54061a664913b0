"""Names for dimensions by a rule that was fixed before looking at any dimension.

A property is in a dimension's name when raising the dimension from the 1st to the 99th percentile of the
training codes changes it by at least 0.3 standard deviations of real lesions, with a 95 % interval that
excludes 0, and steadily: Spearman's correlation with the dimension, averaged over the starting lesions, at
least 0.7 either way. One property of a family counts, the one that moves most. Where the strongest family has
less than half of all movement, the name has two properties, or "among others" where no second one qualifies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lungvae_core.data.properties import FAMILIES, PROPERTIES

EFFECT, SPEARMAN, SELECTIVE = 0.3, 0.7, 0.5  # see above
GLASS_HU, SOLID_HU = -375.0, -225.0  # mean HU inside, edge and all: ground glass below, solid above
STILL_HU = 10.0  # root mean square change of the pixels below which an image counts as unchanged
NOTHING, UNSTEADY, SURROUNDINGS = "no measurable effect", "nothing steady", "changes the surroundings"
RULE = (
    f"A property names a dimension when it changes by at least {EFFECT} standard deviations of real lesions "
    f"over the dimension's range, with the 95 % interval clear of 0, and Spearman's correlation with the "
    f"dimension is at least {SPEARMAN} either way, on average over the starting lesions. Where the strongest "
    f"family of properties has less than half of all movement, two are named, or 'among others' is added."
)


@dataclass(frozen=True)
class Moved:
    """A property's change as a dimension rises over its range, on average over the starting lesions."""

    change: float  # in the property's unit
    low: float  # 95 % interval, starts (one a patient) resampled
    high: float
    effect: float  # change over the property's standard deviation among real lesions, as the model draws them
    spearman: float  # -1..1, mean over the starts
    agree: float  # 0..1, share of the starts that move as the mean does
    start: float  # mean at the range's lower end, in the property's unit
    end: float  # and at its upper end
    median_spearman: float  # -1..1, median over the starts

    @property
    def clear(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0

    @property
    def steady(self) -> bool:
        """Whether this may be in a name."""
        return self.clear and abs(self.effect) >= EFFECT and abs(self.spearman) >= SPEARMAN


@dataclass(frozen=True)
class Name:
    """A dimension's name: what happens when its value rises."""

    text: str  # always something to show; "no measurable effect" and the like where nothing is named
    properties: tuple[str, ...]  # the named ones, strongest first; empty: no name
    others: tuple[str, ...]  # further ones that pass the rule, strongest first
    family: str  # the strongest family, "" where nothing passes
    selectivity: float  # 0..1, its share of all families' movement


def name_of(moved: Mapping[str, Moved], *, inside_hu: float, outside_hu: float) -> Name:
    """The name of a dimension with these changes of properties.

    `inside_hu` and `outside_hu` are the root mean square changes, over the range, of the pixels in the lesion
    and around it: where no property qualifies, they distinguish a dimension without effect from an unsteady
    one.
    """
    named = {key: one for key, one in moved.items() if PROPERTIES[key].names}
    strength = {
        family: max(
            (abs(one.effect) for key, one in named.items() if PROPERTIES[key].family == family and one.clear),
            default=0.0,
        )
        for family in FAMILIES
    }
    passing: dict[str, str] = {}  # family -> property
    for key in sorted(named, key=lambda each: -abs(named[each].effect)):
        if named[key].steady:
            passing.setdefault(PROPERTIES[key].family, key)
    keys = tuple(passing.values())
    if not keys:
        if max(inside_hu, outside_hu) < STILL_HU:
            return Name(NOTHING, (), (), "", 0.0)
        return Name(SURROUNDINGS if outside_hu > 1.5 * inside_hu else UNSTEADY, (), (), "", 0.0)
    family = PROPERTIES[keys[0]].family
    selectivity = strength[family] / sum(strength.values())
    count = 1 if selectivity >= SELECTIVE else 2
    text = " and ".join(verb(key, named[key]) for key in keys[:count])
    if len(keys) < count:
        text += ", among others"
    return Name(text, keys[:count], keys[count:], family, selectivity)


def verb(key: str, moved: Moved) -> str:
    """The verb for a dimension with such a change of a property, as "grows"."""
    if key == "mean_hu" and min(moved.start, moved.end) <= GLASS_HU < SOLID_HU <= max(moved.start, moved.end):
        return "becomes solid" if moved.change > 0 else "becomes ground glass"
    return PROPERTIES[key].up if moved.change > 0 else PROPERTIES[key].down
