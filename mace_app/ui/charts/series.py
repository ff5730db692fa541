"""Long series made short and noisy ones smooth, for the eye only."""

from collections.abc import Sequence

Number = float | None


def thin(x: Sequence[float], y: Sequence[Number], limit: int = 800) -> tuple[list[float], list[Number]]:
    """At most about ``limit`` points; the first, the last, and of every stretch its lowest and highest are kept.

    A point without a value is kept where its stretch has none at all, so that gaps stay gaps.
    """
    count = len(x)
    if count <= limit:
        return list(x), list(y)
    stretches = max(1, limit // 2 - 1)
    kept = {0, count - 1}
    for stretch in range(stretches):
        begin, end = stretch * count // stretches, (stretch + 1) * count // stretches
        having = [(value, place) for place in range(begin, end) if (value := y[place]) is not None]
        kept.update({min(having)[1], max(having)[1]} if having else {begin})
    places = sorted(kept)
    return [x[place] for place in places], [y[place] for place in places]


def smooth(y: Sequence[Number], strength: float) -> list[Number]:
    """Exponential moving average; ``strength`` 0 changes nothing, 0.9 averages over about ten points.

    The start is not pulled towards zero: each value is the weighted mean of what was seen so far. Missing values stay
    missing and do not count.
    """
    if strength <= 0:
        return list(y)
    total = weight = 0.0
    smoothed: list[Number] = []
    for value in y:
        if value is None:
            smoothed.append(None)
            continue
        total = strength * total + (1 - strength) * value
        weight = strength * weight + (1 - strength)
        smoothed.append(total / weight)
    return smoothed


def drawable(y: Sequence[Number], logarithmic: bool) -> list[Number]:
    """On a logarithmic axis zero and negative values have no place: they become gaps."""
    return [value if value is None or value > 0 else None for value in y] if logarithmic else list(y)
