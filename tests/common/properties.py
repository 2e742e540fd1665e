"""How the property-based tests run: with the same examples each time, so no failure is a matter of luck."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

PROPERTY = settings(
    deadline=None,
    max_examples=200,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)

_LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
HOST_NAMES = st.tuples(
    st.lists(_LABEL, max_size=3), st.sampled_from(["org", "null", "null-island", "x1", "CH"])
).map(lambda parts: ".".join([*parts[0], parts[1]]))
"""Valid host names, `null` among their labels more often than in life."""

IPV4 = st.tuples(st.integers(1, 223), *[st.integers(0, 255)] * 3).map(
    lambda octets: ".".join(map(str, octets))
)
PORTS = st.integers(1, 65535)
