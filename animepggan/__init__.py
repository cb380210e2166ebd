"""Draw your favourite character with a progressively grown GAN."""

__version__ = "0.1.0"
