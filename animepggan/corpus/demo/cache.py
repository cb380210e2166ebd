"""Where the cache folder is, for modules that still look for it here."""

from animepggan.disk import cache_folder

__all__ = ["cache_folder"]
