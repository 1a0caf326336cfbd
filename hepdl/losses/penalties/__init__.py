"""What the penalties of ``hepdl.losses`` are made of; listings ignore it."""

__all__: list[str] = []
