# SPDX-License-Identifier: BSD-3-Clause
"""The bugs that mutants.py plants, over the whole tree."""
from planted_ctl import MUTANTS as CTL
from planted_dataplane import MUTANTS as DATAPLANE
from planted_shm import MUTANTS as SHM

MUTANTS = [*SHM, *CTL, *DATAPLANE]
