"""The parts that know nothing of tickets: one deep file each."""
