"""Live availability: what is taken and freed on a show, told to everybody who has its page open.

Owns no table; reads the views of booking and writes nothing. Always true: what a viewer was told, applied in order to
an availability of the revision it began at, is the availability of the revision it was told last; where that cannot be
kept, it is told to read the availability again. No claim waits for a viewer, and without viewers nothing runs.
"""

from holdfast.live.hub import Hub, Viewer

__all__ = ["Hub", "Viewer"]
