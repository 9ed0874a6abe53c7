"""What a study's ensembles are worth, beside models that answer alone: their tables and figures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from radtune.score.calibration import Calibration, thresholds
from radtune.score.cancellation import (
    HALF,
    Measured,
    Said,
    by_votes,
    calibrated,
    correlation,
    measured,
    said_of,
    together,
)
from radtune.score.scores import ratios
from radtune.sources.table import reports_of
from radtune.study.cells import Cell, Kind
from radtune.study.drawing import INK, LINES, Drawing, beyond, f1_axes, finish, new_axes
from radtune.study.formats import NOT_TRAINED, Row, Table
from radtune.study.plan import Study
from radtune.study.results import Results, gold_of, predictions_of
from radtune.study.settings import ALL, Test
from radtune.study.titles import ENSEMBLES, row_label, system_title

_TUNED = "tuned"
_GAIN = ("ΔF1", "ΔF1 95 % CI")


@dataclass(frozen=True)
class System:
    """An ensemble, or a model alone: what its members say of a test, and of the reports that choose its threshold."""

    title: str
    members: Sequence[Cell]
    validation: Said
    test: Said

    @property
    def rows(self) -> str:
        """How many rows each learned."""
        return _rows(self.members[0])

    @cached_property
    def all_tuned(self) -> Measured:
        """What all members score together, at the best threshold on validation."""
        return together(self.validation, self.test, len(self.members))

    @cached_property
    def by_size(self) -> list[Measured]:
        """The same of each number of members."""
        return [together(self.validation, self.test, size) for size in range(1, len(self.members) + 1)]

    @cached_property
    def calibrations(self) -> tuple[Calibration, Calibration]:
        """How far its scores are probabilities, as they are and calibrated."""
        return calibrated(self.validation, self.test)


def _rows(cell: Cell) -> str:
    return ALL if None in cell.rows.values() else f"{cell.total:,}"


def systems_of(results: Results, test: Test) -> list[System]:
    """Where a test has ensembles: these, and the mixes and linear models beside them, where all have given scores."""
    study, found = results.study, []
    cells = [cell for cell, name in study.scores if name == test.name]
    groups = [(cell, study.members(cell.ensemble)) for cell in cells if cell.kind == Kind.ENSEMBLE]
    if not groups:
        return []
    first = study.settings.ensembles[groups[0][0].ensemble].validation
    groups += [(cell, [cell]) for cell in cells if cell.kind in (Kind.MIX, Kind.LINEAR)]
    for cell, members in groups:
        chosen_on = study.settings.ensembles[cell.ensemble].validation if cell.ensemble else first
        said = [_said(study, members, part) for part in (study.tests[chosen_on], test)]
        if said[0] and said[1] and said[0].scored and said[1].scored:
            of = "" if cell.ensemble else f", {_rows(cell)} rows"
            of += "" if cell.seed is None or cell.ensemble else f", seed {cell.seed}"
            found.append(System(row_label(study, cell) + of, members, *said))
    return found


def _said(study: Study, members: Sequence[Cell], test: Test) -> Said | None:
    """What members say of a test beside its gold; None while one has not answered."""
    if not all(study.predictions(member.name, test.name).exists() for member in members):
        return None
    patients = {report.report_id: report.patient_id for report in reports_of(study.test_reports(test.name))}
    files = [predictions_of(study, member.name, test) for member in members]
    return said_of(test.task, files, gold_of(test), test.evaluation.get("gold_blank"), patients)


def ensemble_tables(study: Study, systems: Sequence[System], test: Test) -> Iterator[Table]:
    """What each ensemble scores beside one of its members and models alone, and why."""
    if not systems:
        return
    many = [system for system in systems if len(system.members) > 1]
    yield _worth(study, systems, test)
    rows = list(_members(study, many))
    yield _table("members", f"{test.title}: members by what they name themselves", test, rows)
    rows = []
    for system in many:
        for votes, (right, wrong) in enumerate(by_votes(system.test)):
            row: Row = {"System": system.title, "Members that name a label": votes, "In gold": right}
            rows.append(row | {"Not in gold": wrong, "Share in gold": right / max(1, right + wrong)})
    yield _table("cancellation", f"{test.title}: labels by the number of members that name them", test, rows)
    rows = []
    for system in many:
        row = {"System": system.title}
        for name, missed in (("False positives", False), ("Misses", True)):
            value, interval = correlation(system.test, missed)
            row |= {(name, "Phi"): value, (name, "95 % CI"): interval}
        rows.append(row)
    yield _table("correlation", f"{test.title}: errors of two members, mean correlation", test, rows)
    rows = [
        {"System": system.title, "Members": size, **_scores(found), **_gain(found, system.by_size[0])}
        for system in many for size, found in enumerate(system.by_size, start=1)
    ]  # fmt: skip
    title = f"{test.title}: F1 by the number of members, tuned threshold; ΔF1 is to one"
    yield replace(_table("f1_by_members", title, test, rows), signed=_GAIN)
    rows = []
    for system in systems:
        before, after = system.calibrations
        row = {"System": system.title}
        for name, value, interval in (
            ("As it is", before.error, before.ci95), ("Calibrated", after.error, after.ci95),
            ("Difference", after.minus_other, after.minus_other_ci95),
        ):  # fmt: skip
            low, high = interval or (0.0, 0.0)
            row |= {(name, "Error, %"): 100 * (value or 0.0), (name, "95 % CI"): (100 * low, 100 * high)}
        rows.append(row)
    title = f"{test.title}: expected calibration error, before and after isotonic regression on validation reports"
    signed = (("Difference", "Error, %"), ("Difference", "95 % CI"))
    yield Table(f"calibration_{test.name}", title, ENSEMBLES, rows, signed=signed, printed=True)


def _table(name: str, title: str, test: Test, rows: Sequence[Row]) -> Table:
    return Table(f"{name}_{test.name}", title, ENSEMBLES, rows)


def _scores(found: Measured) -> Row:
    row: Row = dict(zip(("Precision", "Recall", "F1"), found.values.tolist(), strict=True))
    return row | {"F1 95 % CI": found.interval()[2]}


def _gain(found: Measured, other: Measured) -> Row:
    return dict(zip(_GAIN, (float((found.values - other.values)[2]), found.interval(minus=other)[2]), strict=True))


def _worth(study: Study, systems: Sequence[System], test: Test) -> Table:
    """One member and all of them, at a threshold of a half and a tuned one; models alone; and variants of one."""
    singles = [system for system in systems if len(system.members) == 1]
    # As seen on validation: the best of those on the test would have been picked there.
    alone = max(singles, key=lambda one: together(one.validation, one.validation, 1).values[2], default=None)
    found: list[tuple[Row, Measured]] = []
    for system in systems:
        for size in dict.fromkeys((1, len(system.members))):
            many, every = len(system.members) > 1, size == len(system.members)
            who = "alone" if not many else "all" if every else "one, on average"
            for threshold in (f"{HALF}", _TUNED):
                scores = system.all_tuned if every else system.by_size[0]
                if threshold != _TUNED:
                    scores = together(system.validation, system.test, size, tuned=False)
                row: Row = {"System": system.title, "Rows of each": system.rows}
                found.append((row | {"Answering": who, "Threshold": threshold}, scores))
    for cell, name in study.scores:
        if cell.kind == Kind.VARIANT and name == test.name and (said := _said(study, [cell], test)):
            row = {"System": system_title(study, cell), "Rows of each": f"{cell.total:,}", "Answering": "alone"}
            found.append((row | {"Threshold": NOT_TRAINED}, measured(said, said.named)))
    rows = []
    for row, scores in found:
        row |= _scores(scores)
        rows.append(row | (_gain(scores, alone.all_tuned) if alone else {}))
    against = f"; ΔF1 is to {alone.title}, {_TUNED}" if alone else ""
    title = f"{test.title}: ensembles and models alone{against}"
    return Table(f"ensembles_{test.name}", title, ENSEMBLES, rows, signed=_GAIN, printed=True)


def _members(study: Study, systems: Sequence[System]) -> Iterator[Row]:
    for system in systems:
        for number, cell in enumerate(system.members):
            own = " ".join((*study.own(cell, "overrides"), *filter(None, [study.own(cell, "uncertain") or ""])))
            wording = study.own(cell, "wordings")
            learned = ", ".join(filter(None, (own, wording and wording.stem)))
            row: Row = {"System": system.title, "Member": cell.member, "Of its own": learned or None}
            yield row | _scores(measured(system.test, system.test.named[number : number + 1]))
        yield {"System": system.title, "Member": ALL, **_scores(system.all_tuned)}


def ensemble_figures(systems: Sequence[System], test: Test) -> list[Drawing]:
    """Members and ensembles in the precision-recall plane; F1 by the number of members."""
    if not systems:
        return []
    plane, sizes = new_axes("Recall", "Precision", grid="both"), f1_axes("Members", ())
    lowest = 0.42
    for (colour, marker), system in zip(LINES, systems, strict=False):
        judged, gold = system.test.judged, system.test.gold
        curve = ratios([counts for _, counts in thresholds(system.test.mean()[judged], gold[judged])])
        precision, recall, f1 = system.all_tuned.values
        plane.plot(curve[:, 1], curve[:, 0], color=colour, linewidth=1, alpha=0.6)
        style = {"marker": marker, "markersize": 9, "markeredgecolor": INK, "linestyle": "", "color": colour}
        plane.plot([recall], [precision], **style, label=system.title, zorder=3)
        lowest = min(lowest, recall, precision)
        if len(system.members) == 1:
            sizes.axhline(f1, color=colour, linestyle="--", linewidth=1.4, label=system.title)
            continue
        each = [measured(system.test, system.test.named[i : i + 1]).values for i in range(len(system.members))]
        plane.plot([m[1] for m in each], [m[0] for m in each], marker, color=colour, markersize=4, alpha=0.8)
        lowest = min(lowest, *(value for m in each for value in m[:2]))
        numbers, f1s = range(1, len(system.members) + 1), [found.values[2] for found in system.by_size]
        sizes.plot(numbers, f1s, color=colour, marker=marker, label=system.title)
        low, high = zip(*(found.interval()[2] for found in system.by_size), strict=True)
        sizes.fill_between(numbers, low, high, color=colour, alpha=0.15, linewidth=0)
    plane.set_xlim(lowest - 0.02, 1.01)
    plane.set_ylim(lowest - 0.02, 1.01)
    more = beyond(systems, f"tables/ensembles_{test.name}.csv")
    title = f"{test.title}: members (small), all of them at the tuned threshold (large), and by threshold (lines){more}"
    return [
        finish(f"members_{test.name}", title, ENSEMBLES, plane),
        finish(f"f1_by_members_{test.name}", f"{test.title}: F1 by the number of members{more}", ENSEMBLES, sizes),
    ]
