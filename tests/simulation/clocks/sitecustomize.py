"""Puts the clock of an API process wrong, before any of its code is there.

Python runs this at its start where this folder is on PYTHONPATH. The seconds stand in the file that SIMULATION_CLOCK
names. `platform/clock.py` is where the product reads the time of its process, `time.time` is where its packages do.
"""

import os
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

_file = os.environ.get("SIMULATION_CLOCK")
_off = float(Path(_file).read_text("ascii") or 0) if _file else 0.0
if _off and "api" in sys.orig_argv:
    from holdfast.platform import clock

    _time, _now = time.time, clock.now

    def _wrong_time() -> float:
        return _time() + _off

    def _wrong_now() -> datetime:
        return _now() + timedelta(seconds=_off)

    time.time, clock.now = _wrong_time, _wrong_now
