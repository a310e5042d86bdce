# SPDX-License-Identifier: BSD-3-Clause
"""One planted bug: an exact text of one file and what is put in its place."""
import dataclasses


@dataclasses.dataclass(frozen=True)
class Mutant:
    name: str
    what: str   # in a few words: what is wrong with it
    file: str
    old: str    # stands exactly once in the file
    new: str
    check: str  # the test of the build that must notice, and more arguments for it

    def planted(self, text):
        assert text.count(self.old) == 1
        return text.replace(self.old, self.new)
