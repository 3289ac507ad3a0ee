"""Every error of the project, one tree.

    PipelineError            exit 1
      UsageError             exit 2   the command line is wrong
      ConfigError            exit 3   a config file or key is wrong
      EnvironmentProblem     exit 4   this machine lacks something (CPU, memory, port, file, package)
      VenueError             exit 5   a venue said no or cannot be reached
        Rejected                      definitive: the venue refused
        Unknown                       sent, no answer: a state, never "failed"
        RateLimited                   refused for now
        Unreachable                   provably nothing was sent
      RiskRefusal            exit 6   our own limits or the halt forbid it
      IntegrityError         exit 7   data contradict each other; trading must stop
        LayoutError                   a segment or log of another layout or build
        LogCorrupt                    a record in the middle of a log fails its check
        InvariantError                a state that must not exist

A message says where, what was expected, what was found, what to do. Catch the narrowest.
"""

from __future__ import annotations


class PipelineError(Exception):
    """Base of all errors that this project raises on purpose."""

    exit_code = 1


class UsageError(PipelineError):
    exit_code = 2


class ConfigError(PipelineError):
    exit_code = 3


class EnvironmentProblem(PipelineError):
    exit_code = 4


class VenueError(PipelineError):
    exit_code = 5


class Rejected(VenueError):
    """The venue refused; nothing is open because of this request."""


class Unknown(VenueError):
    """Sent and not answered: fully exposed until the venue tells us."""


class RateLimited(VenueError):
    """Refused for now; try again after the time that it names."""


class Unreachable(VenueError):
    """Provably nothing was sent."""


class RiskRefusal(PipelineError):
    exit_code = 6


class IntegrityError(PipelineError):
    exit_code = 7


class LayoutError(IntegrityError):
    """A segment or log was made by another layout or build."""


class LogCorrupt(IntegrityError):
    """A record in the middle of a log fails its check."""


class InvariantError(IntegrityError):
    """A state that must not exist."""
