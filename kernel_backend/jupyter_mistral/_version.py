"""The one place that holds the version; extension/package.json repeats it and a test compares them."""

__version__ = "0.1.0"
