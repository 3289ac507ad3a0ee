"""pm-pipeline: trades prediction markets from one Linux server."""

__version__ = "0.1.0"
__all__ = ["__version__"]
