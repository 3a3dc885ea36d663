"""Corpora and test vectors as records."""

import json

import pytest

import crosswalk_mmu as mmu


def test_the_bundled_corpus_is_read_as_records():
    records = list(mmu.corpus())
    assert len(records) > 5000
    assert {record["mode"] for record in records} == {"unpaged", "32bit", "pae", "4level", "5level"}
    assert {"pvm", "tcg", "bochs", "v86"} <= {record["flavour"] for record in records}
    for record in records:
        assert record["va"] == record["case"]["access"]["address"]
        observed = record["observed"]
        assert (observed is None) == (record["unsupported"] is not None)
        if record["faulted"]:
            assert observed["fault"]["error_code"] == record["error_code"]


def outcome_of(fault, parts):
    return (fault["vector"], fault["error_code"], fault["cr2"]) if fault else parts


def test_predictions_agree_with_what_is_allowed():
    """Single accesses of the corpus, predicted here once more."""
    compared = 0
    for record in mmu.corpus():
        case = record["case"]
        access, state, profile = case["access"], case["state"], case["profile"]
        # What the processor does for itself depends on the instruction.
        is_plain = record["actions"] == 0 and not access.get("implicit") and access["size"] <= 8
        if record["mode"] != "4level" or not is_plain or profile.get("pins"):
            continue

        prediction = mmu.predict(
            {entry["address"]: entry["value"] for entry in case["entries"]},
            va=access["address"],
            access=access["kind"],
            size=access["size"],
            ring=access["ring"],
            segment=access["segment"],
            compatibility=access.get("compatibility", False),
            shadow_stack=access.get("shadow_stack", False),
            **{name: state[name] for name in ("cr0", "cr3", "cr4", "efer", "pkru", "pkrs", "ac")},
            profile=mmu.Profile(
                profile["vendor"],
                max_physical_address=profile["max_physical_address"],
                features=profile["features"],
            ),
        )
        if "OUT-1" in prediction.rules:
            continue  # The machine had memory where no entry is listed.
        expected = [
            outcome_of(
                outcome.get("fault"),
                [(part["address"], part["bytes"]) for part in outcome.get("translated", [])],
            )
            for outcome in record["allowed"]["access"]
        ]
        found = [
            (outcome.fault.vector, outcome.fault.error_code, outcome.fault.cr2) if outcome.fault else outcome.parts
            for outcome in prediction.outcomes
        ]
        assert found == expected, record["name"]
        compared += 1
    assert compared > 1000


def test_pandas_reads_records():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(mmu.corpus())
    assert len(frame) > 5000
    faults = frame[frame.vector == 14]
    by_mode = faults.groupby("mode").size()
    assert by_mode["4level"] == sum(
        record["mode"] == "4level" and record["vector"] == 14 for record in mmu.corpus()
    )


def test_test_vectors_are_read(tmp_path):
    vector = {
        "vector": 1,
        "name": "by hand",
        "case": {"mode": "pae", "access": {"kind": "read", "address": "0xffffffffffffffff"}},
        "machine": {"kind": "qemu", "flavour": "tcg"},
        "verdict": "agree",
        "findings": ["T1"],
        "observed": {"provenance": "tcg"},
    }
    path = tmp_path / "vectors.jsonl"
    path.write_text(json.dumps(vector) + "\n")
    (record,) = mmu.corpus(path)
    assert (record["va"], record["machine"], record["faulted"]) == ((1 << 64) - 1, "qemu", False)
    assert (record["verdict"], record["findings"], record["cr2"]) == ("agree", ["T1"], None)


@pytest.mark.parametrize(
    "text, words",
    [
        (b"", "found nothing"),
        (b"hello\n", "line 1: "),
        (b"[]\n", "line 1: expected the first line"),
        (b'{"corpus":2}\n', "expected version 1 of the format, found 2"),
        (b'{"vector":"1"}\n', "expected version 1"),
        (b'{"corpus":1,"machine":{}}\n{"name":"a"}\n', "ends too early"),
        (b'{"corpus":1,"machine":{}}\n{"end":3}\n', "expected 3 cases before this line, found 0"),
        (b"\xff\xfe\n", "line 1"),
        (b"x" * 300_000, "at most 262144 bytes"),
        (b"\x28\xb5\x2f\xfd\x00garbage", "damaged"),
        (b"[" * 200_000 + b"\n", "recursion limit"),
    ],
)
def test_damaged_files_raise(tmp_path, text, words):
    path = tmp_path / "damaged"
    path.write_bytes(text)
    records = mmu.corpus(path)
    with pytest.raises(mmu.CorpusError, match=words):
        list(records)
    assert list(records) == []


def test_missing_files_raise(tmp_path):
    with pytest.raises(FileNotFoundError):
        mmu.corpus(tmp_path / "missing")
    with pytest.raises(OSError):
        list(mmu.corpus(tmp_path))
