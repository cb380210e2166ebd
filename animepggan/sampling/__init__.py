"""From a generator to pictures: seeds, latents, walks, grids, films.

Nothing is imported here, so that the command line can read seeds and file endings before torch is loaded.
"""
