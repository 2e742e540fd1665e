"""Quantities and times as people read them."""

import time

UNITS = ((86400, "d"), (3600, "h"), (60, "min"))


def span(seconds: float) -> str:
    """A length of time in its largest sensible unit."""
    for size, unit in UNITS:
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def moment(at: float) -> str:
    """A time (seconds since 1970) to the second, in UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at))


def stamp(at: float) -> str:
    """A time as `<time datetime>` wants it (RFC 3339)."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def rate(kb_per_s: float) -> str:
    """A load or capacity given in kB/s."""
    for size, unit in ((1e9, "TB/s"), (1e6, "GB/s")):
        if kb_per_s >= size:
            return f"{kb_per_s / size:.3g} {unit}"
    if 0 < kb_per_s < 50:
        return f"{kb_per_s:.2g} kB/s"
    megabytes = kb_per_s / 1000
    return f"{megabytes:.1f} MB/s" if megabytes < 10 else f"{megabytes:.0f} MB/s"


def whole(number: float) -> str:
    """A whole number with its thousands apart."""
    return f"{number:,.0f}".replace(",", "\u202f")


def percent(share: float) -> str:
    """A share (1 is all) in percent."""
    return f"{100 * share:.0f} %"


def squids(number: int) -> str:
    """How many squids."""
    return f"{whole(number)} {'squid' if number == 1 else 'squids'}"


def sites_own(number: int) -> str:
    """Of so many squids: why whoever looks does not see them."""
    return "that its own site alone sees" if number == 1 else "that their own sites alone see"
