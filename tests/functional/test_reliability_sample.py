"""A few seeds of every figure of reliability/, and all of the corpus: what failed once stays tried."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from airflow_s3stream.config import MiB
from benchmarks import endpoint
from benchmarks.endpoint import LinkOptions
from reliability import cases, corpus, external, figures, guards, hostile, mutations, report, results, stores
from reliability.copying import tools
from reliability.environment import ROOT
from reliability.figure import Case, Figure, Finding, Settings, not_measured
from reliability.figures import memory, others
from reliability.lying import peers

CORPUS = corpus.read()
SAMPLE = 1
"""Seeds of each kind."""


def test_the_corpus_has_something_to_try() -> None:
    """An empty one would prove nothing; and what it names must be there."""
    assert CORPUS
    for case in CORPUS:
        assert case.kind in figures.load(case.figure).KINDS, case


@pytest.mark.parametrize("case", CORPUS, ids=lambda case: f"{case.figure}-{case.kind}-{case.seed}")
def test_corpus(case: Case) -> None:
    found = cases.check(case, limit=50)
    assert not found.wrong, f"{found.wrong}; again: {case.replay}"


@pytest.mark.parametrize("kind", figures.load("lies").KINDS)
def test_lies(kind: str) -> None:
    _sample("lies", kind)


@pytest.mark.parametrize("kind", figures.load("keys").KINDS)
def test_keys(kind: str) -> None:
    _sample("keys", kind, seeds=[2])


def test_the_hostile_keys_are_as_many_as_they_say() -> None:
    """And no two of them the same, and the same every time."""
    listed = [key for number in range(hostile.LISTED // 100) for key in hostile.keys(number, 100)]
    assert len(set(listed)) == len(listed) == hostile.LISTED
    assert len(set(hostile.keys(7, 100))) == 100
    assert hostile.keys(7, 100) == hostile.keys(7, 100)


@pytest.mark.parametrize("tool", peers.MUST_FAIL)
def test_the_lies_are_believed_by_those_who_are_known_to(tool: str) -> None:
    """A rig that finds nothing in anyone is broken."""
    if tool in peers.absent():
        pytest.skip(peers.absent()[tool])
    assert peers.outcome_of(peers.Trial(tool, "one", "one bit flipped", 1)) == "wrong"
    assert peers.outcome_of(peers.Trial(tool, "many", "one bit flipped", 1)) == "wrong"


@pytest.mark.parametrize(("tool", "fails"), [(tools.OURS, False), ("boto3", True)])
def test_a_lost_answer_to_complete(tool: str, fails: bool) -> None:
    """The same rig that finds nothing in this project's command finds a false failure in others."""
    with stores.serving(("localstack",)), others.scene(1) as scene:
        assert others.lose(tool, scene) == fails


def test_memory() -> None:
    """Small, for it is the rig that is tried here: test_memory.py holds the product to its formula."""
    with endpoint.started(LinkOptions()) as server:
        one = memory.measured(server, "relay", 64 * MiB, timeout=50)
        broken = memory.measured(server, "spool", 2**50, enough=memory.Enough(30, 0), timeout=50)
    assert one.failed == ""
    assert one.moved >= 64 * MiB
    assert 0 < one.grown <= memory.FORMULAS["relay"]
    assert "LimitExceeded" in broken.failed, "a transfer that breaks before its time is no measurement"


def test_memory_that_grows_is_noticed() -> None:
    idle, held = 50 * MiB, memory.FORMULAS["relay"]
    level = memory.Run("relay", 2**40, idle, idle + held, samples=[idle, *[idle + held] * 30])
    assert level.wrong(sloping=True) == ""
    assert "grew by" in memory.Run("relay", 2**40, idle, idle + held + 1).wrong(sloping=True)
    leak = memory.Run("relay", 2**40, idle, idle + held, samples=[idle + at * MiB for at in range(40)])
    assert "still growing" in leak.wrong(sloping=True)


def _sample(name: str, kind: str, seeds: Sequence[int] = range(SAMPLE)) -> None:
    for seed in seeds:
        found = cases.check(Case(name, kind, seed), limit=50)
        assert not found.wrong, f"{found.wrong}; again: {found.case.replay}"


class TestCases:
    """The runner itself: what goes wrong is found, told and kept."""

    def test_the_same_seed_does_the_same(self) -> None:
        """Or a failure could not be looked at again."""
        case = Case("lies", "one: ignores Range", 7)
        assert len({(cases.check(case).outcome, cases.check(case).wrong) for _ in range(3)}) == 1

    def test_what_is_raised_is_a_finding(self) -> None:
        """The other cases go on."""
        found = cases.check(Case("lies", "no such job: ignores Range", 1))
        assert found.outcome == "broken"
        assert "KeyError" in found.wrong

    def test_a_hang_is_a_finding(self, capfd: pytest.CaptureFixture[str]) -> None:
        """And says where it hung."""

        def hang() -> Finding:
            time.sleep(60)
            raise AssertionError

        found = cases.within(0.01, Case("lies", "hangs", 1), hang)
        assert "not done after" in found.wrong
        assert "in hang" in capfd.readouterr().err

    def test_what_is_wrong_goes_into_the_corpus_once(self, tmp_path: Path) -> None:
        wrong = Finding(Case("lies", "one: ignores Range", 5), "a wrong object", "wrong")
        right = Finding(Case("lies", "one: ignores Range", 6), "", "right")
        assert corpus.add([wrong, right], tmp_path) == [wrong.case]
        assert corpus.add([wrong], tmp_path) == []
        assert corpus.read(tmp_path) == [wrong.case]
        (entry,) = json.loads((tmp_path / "lies.json").read_text())
        assert entry["why"] == "a wrong object"


class TestPage:
    """docs/reliability.md, made of records."""

    FIGURE = Figure(
        number=3, title="Answers | lost", target="None.", columns=("a", "b"), rows=[["1", "x|y"]], verdict="missed",
        failures=["wrong: `again`"] * 12, notes=["a note"],
    )  # fmt: skip

    def test_a_record_becomes_a_table(self, tmp_path: Path) -> None:
        """The newest of each figure, in their order, with what went wrong and how it is done again."""
        results.write({**results.record("later", self.FIGURE), "number": 9}, tmp_path)
        results.write(results.record("lost", self.FIGURE), tmp_path)
        results.write({**results.record("lost", self.FIGURE), "date": "2020-01-01", "title": "Old"}, tmp_path)
        text = report.page(results.newest(tmp_path))
        assert text.index("## 3. Answers") < text.index("## 9. Answers")
        assert "Old" not in text
        assert "| 1 | x\\|y |" in text
        assert "**no**" in text
        assert "- wrong: `again`" in text
        assert "and 2 more" in text
        assert "airflow-s3stream" in text

    def test_the_page_is_that_of_the_records(self) -> None:
        """Or a figure on it was never measured."""
        assert report.PAGE.read_text() == report.page(results.newest())

    def test_what_was_not_measured_says_why(self) -> None:
        figure = not_measured(8, "Addresses", "None.", "there is no rig")
        text = report.page([results.record("addresses", figure)])
        assert "there is no rig" in text
        assert "not measured" in text


class TestExternal:
    """Figures that a rig prints as JSON."""

    def test_the_last_object_counts(self) -> None:
        assert external.last_object('noise\n{"a": 1}\n{\n "b": [2]\n}\n') == {"b": [2]}
        assert external.last_object("nothing\n[1]") is None

    def test_rows_become_a_table_and_else_members_do(self) -> None:
        assert external.table({"rows": [{"a": 1, "b": 2.5}, {"a": 3}]}) == (["a", "b"], [["1", "2.5"], ["3", ""]])
        assert external.table({"rounds": 2, "left_behind": []})[1] == [["rounds", "2"], ["left behind", "none"]]

    def test_a_rig_that_is_not_there(self) -> None:
        assert external.measured(1, "", "", ["tests.support.none"], timeout=1).verdict == "not measured"

    def test_a_rig_that_prints_nothing(self) -> None:
        figure = external.measured(1, "", "", ["this"], timeout=20)
        assert figure.verdict == "not measured"
        assert "no JSON" in figure.notes[0]


class TestMutations:
    """Guards that are taken out."""

    @pytest.mark.parametrize("mutation", guards.everything(), ids=lambda mutation: mutation.name)
    def test_every_guard_is_where_it_is_said_to_be(self, mutation: guards.Mutation) -> None:
        """Whoever changes a guard changes reliability/guards too, or nobody would notice that it is gone."""
        assert (ROOT / mutation.file).read_text().count(mutation.old) == 1
        assert mutation.new != mutation.old
        if isinstance(mutation.check, guards.Seeds):
            assert mutation.check.kind in figures.kinds(mutation.check.figure)

    def test_a_guard_that_is_taken_out_is_missed(self) -> None:
        """And one that nobody misses, or that is not there, is told."""
        guard = next(one for one in guards.everything() if one.name == "a listing ascends")
        needless = replace(guard, new=f"{guard.old}  # as it was")
        moved = replace(guard, old="def no_such_text")
        hopeless = replace(guard, check=guards.tests("none"))

        def check(asked: guards.Check, tree: Path) -> mutations.Answer:
            assert tree != ROOT
            found = (tree / guard.file).read_text()
            return asked == hopeless.check or guard.new in found.splitlines(), "looked"

        results = mutations.run([guard, needless, moved, hopeless], jobs=1, check=check)
        assert [result.fate for result in results] == ["killed", "survived", "stale", "broken"]


def test_settings_say_how_many() -> None:
    assert Settings(seeds=4).count(full=100, quick=2) == 4
    assert Settings(quick=True).count(full=100, quick=2) == 2
    assert Settings().count(full=100, quick=2) == 100
