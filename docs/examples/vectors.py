#!/usr/bin/env python3
"""Compares a page walker with test vectors: `crosswalk corpus export | docs/examples/vectors.py`. The walker
is that of walker.py beside this file: replace `answer` by a call of your own. docs/guide/src/corpus.md
describes the fields of a vector."""
import json
import sys

from walker import Fields, answer


def is_allowed(found, outcome):
    """Whether an answer is this outcome; the walker does not say which entries change."""
    fault = outcome.fault
    if fault is None or "fault" not in found:
        if fault is not None or "fault" in found:
            return False
        places = [int(place, 16) for place in found["translated"].values()]
        return places == [part.address for part in outcome.translated]
    cr2 = found["fault"].get("cr2")
    code = int(found["fault"]["error_code"], 16)
    found = (found["fault"]["vector"], code, cr2 and int(cr2, 16))
    return found == (fault.vector, fault.error_code, fault.cr2)


agree = differ = skipped = 0
if sys.argv[1:]:
    sys.exit("vectors.py: the vectors come from standard input: expected no argument")
for line in sys.stdin:
    vector = json.loads(line, object_hook=Fields)
    found = answer(vector.case)
    if "silent" in found:
        skipped += 1
    elif any(is_allowed(found, outcome) for outcome in vector.allowed.access):
        agree += 1
    else:
        differ += 1
        if differ <= 10:
            print(f"{vector.name}: expected {vector.allowed.access}\n  found {found}")
print(f"{agree} agree, {differ} differ, {skipped} skipped")
# Nothing that was compared is nothing that agrees.
sys.exit(differ > 0 or agree == 0)
