"""A sample of the packages around the rules: our verdict for core 0.11 is core's own.

`python -m tests.verify.neighbours` asks about all of them.
"""

from __future__ import annotations

import os
import random

import pytest

from w2s_export.verify.clients.versions import CORE_KNOWS, READS
from w2s_export.verify.findings import Client
from w2s_export.verify.verdicts import Answer
from w2s_export.verify.verify import verify

from .neighbours import REASONS, compare, neighbours

pytest.importorskip("bioimageio.core")
SAMPLE = 15 * int(os.environ.get("W2S_FUZZ", 1))


def test_the_table_of_versions_is_what_is_installed():
    """When core moves, the table and the rules for what is newer must move with it."""
    from bioimageio.spec.model.v0_5 import ModelDescr

    known = ".".join(map(str, CORE_KNOWS))
    assert ModelDescr.implemented_format_version == known
    assert READS[Client.core_0_11].covers(CORE_KNOWS)
    assert set(READS) == set(Client)


@pytest.mark.parametrize("version", ["0.1.0", "0.2.3", "0.3.6", "0.5.13", "0.5.14", "0.6.0"])
def test_other_versions_get_their_verdict(tmp_path, version):
    package = neighbours()["0.4 fields: as it is"]
    package.put("format_version", version)
    package.write(tmp_path / "old.zip")
    report = verify(tmp_path / "old.zip", rules_only=True, asked=tuple(Client))
    refusing = {v.client for v in report.verdicts if v.would is Answer.refuses}
    assert {Client.deepimagej_2_1, Client.deepimagej_3_0} <= refusing
    assert (Client.deepimagej_3_1 in refusing) is True
    core = Client.core_0_11 in refusing
    assert core is (version != "0.3.6")  # 0.4's fields in a description that says 0.5 are invalid
    assert (Client.zoo in refusing) is (version != "0.3.6")


def test_there_are_enough_of_them():
    names = list(neighbours())
    assert len(names) >= 300
    assert set(REASONS) <= set(names)


@pytest.mark.filterwarnings("ignore")
def test_our_verdict_is_that_of_core(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # core unzips weights into it
    names = random.Random(0).sample(sorted(neighbours()), SAMPLE)  # noqa: S311 - the same at each run
    rows = list(compare(tmp_path, names))
    wrong = [row for row in rows if row[1][0] != row[2][0] and row[0] not in REASONS]
    assert wrong == []
    assert {core[0] for _, _, core in rows} == {True, False}
