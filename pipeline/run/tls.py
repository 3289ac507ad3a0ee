"""Who is trusted to be the venue: one rule for lanes and commands."""

from __future__ import annotations

import ssl

from pipeline.config.load import Config
from pipeline.errors import EnvironmentProblem


def tls_context(config: Config) -> ssl.SSLContext:
    """Return a verifying context; the local exchange brings its own authority."""
    authority = config.venues.polymarket.tls_ca_file
    try:
        context = ssl.create_default_context(cafile=authority)
    except OSError as error:
        raise EnvironmentProblem(
            f"venues.polymarket.tls_ca_file: {authority}: no usable certificate ({error.strerror or error}); "
            "correct the path") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
