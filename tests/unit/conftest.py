"""How hard hypothesis tries: `ci` (the same examples every time), or HYPOTHESIS_PROFILE=thorough."""

import os

from hypothesis import HealthCheck, settings

# Time is judged by the tests that speak of it; on a loaded machine a deadline of an example says nothing.
settings.register_profile("ci", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile(
    "thorough", deadline=None, max_examples=5000, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
