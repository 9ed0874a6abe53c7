"""Metrics as a terminal shows them."""

from collections.abc import Iterable, Iterator, Mapping

from radtune.privacy import NOT_SHOWN
from radtune.score.agreement import Agreement, kappa_text
from radtune.score.calibration import Calibration
from radtune.score.codes import CodeScores
from radtune.score.comparison import Comparison
from radtune.score.evaluation import ClassScore, Metrics
from radtune.score.scores import MeanScore, Score

# Names that a model makes up can be many; metrics.json has them all.
_NAMES_SHOWN = 10


def metrics_text(metrics: Metrics) -> str:
    """A table of the classes, the scores with their intervals, and what needs a remark."""
    return "\n".join(_lines(metrics))


def _lines(metrics: Metrics) -> Iterator[str]:
    if metrics.per_class:
        yield from _class_table(metrics)
    for name, part in metrics.per_parent.items():
        yield _score_line(f"{name} and all below it", part)
    known = {"micro": metrics.micro, "one-to-one": metrics.one_to_one, "exact": metrics.exact, "tokens": metrics.tokens}
    for title, score in known.items():
        if score:
            yield _score_line(title, score)
    if metrics.macro:
        with_gold = sum(score.support > 0 for score in metrics.per_class.values())
        remark = f"  ({with_gold} of {len(metrics.per_class)} classes have a gold case)"
        yield "macro  precision {precision:.3f}  recall {recall:.3f}  F1 {f1:.3f}".format(**metrics.macro) + remark
        if "auroc" in metrics.macro:
            yield "macro  AUROC {auroc:.3f}  average precision {average_precision:.3f}".format(**metrics.macro)
    for most, score in metrics.first.items():
        yield _score_line(f"first {most}", score)
    if metrics.calibration:
        yield from _calibration_lines(metrics.calibration)
    for column, groups in metrics.by.items():
        for value, group in groups.items():
            macro = "" if group.macro is None else f"  macro F1 {group.macro:.3f}"
            yield _score_line(f"{column} {value}, n {group.n_reports}", group.micro) + macro
    if metrics.codes:
        yield from _code_lines(metrics.codes)
    drawn = f"{metrics.bootstrap.resamples} draws of {metrics.bootstrap.n_units} {metrics.bootstrap.unit}s"
    yield f"{metrics.task}: {metrics.n_reports} reports; 95 % intervals from {drawn}"
    yield from map(_agreement_line, metrics.agreement)
    if metrics.policies:
        yield "uncertain classes counted as:"
        for policy, score in metrics.policies.items():
            yield f"  {policy:<9}" + "  precision {precision:.3f}  recall {recall:.3f}  F1 {f1:.3f}".format(**score)
    if metrics.comparison:
        yield from _comparison_lines(metrics.comparison)
    failed = [f"{count} {status}" for status, count in metrics.status_counts.items() if status != "ok"]
    if failed:
        yield f"counted as empty predictions: {', '.join(failed)}"
    for side, names in metrics.respelled.items():
        if names:
            shown = (f"{name!r} = {spelt.finding} x{spelt.count} ({spelt.step})" for name, spelt in names.items())
            yield f"names in {side} that are no class, taken for one: {_first(shown)}"
    for side, names in metrics.other_names.items():
        if names:
            shown = (f"{name if name == NOT_SHOWN else repr(name)} x{count}" for name, count in names.items())
            yield f"names in {side} that are no class, counted as wrong: {_first(shown)}"
    if metrics.errors is not None:
        yield from _error_lines(metrics.errors)


def _class_table(metrics: Metrics) -> Iterator[str]:
    width = max(map(len, metrics.per_class))
    kappas = metrics.agreement[0].per_class_kappa
    yield f"{'':{width}}  precision  recall     F1  F1 95 % interval  support    tp    fp    fn    tn   kappa"
    for name, score in metrics.per_class.items():
        occurs = score.support + score.fp > 0
        ratios = [f"{value:.3f}" if occurs else "-" for value in (score.precision, score.recall, score.f1)]
        interval = "[{:.3f}, {:.3f}]".format(*score.ci95["f1"]) if occurs else "-"
        yield (
            f"{name:{width}}  {ratios[0]:>9}  {ratios[1]:>6}  {ratios[2]:>5}  {interval:>16}  {score.support:7d}"
            f"  {score.tp:4d}  {score.fp:4d}  {score.fn:4d}  {score.tn:4d}  {kappa_text(kappas[name]):>6}"
        )


def _score_line(title: str, score: Score | ClassScore) -> str:
    return f"{title}  {_measures(score)}  tp {score.tp}  fp {score.fp}  fn {score.fn}"


def _measures(score: Score | ClassScore | MeanScore) -> str:
    low, high = score.ci95["f1"]
    return f"precision {score.precision:.3f}  recall {score.recall:.3f}  F1 {score.f1:.3f} [{low:.3f}, {high:.3f}]"


def _calibration_lines(found: Calibration) -> Iterator[str]:
    line = "calibration error {:.3f} [{:.3f}, {:.3f}]".format(found.error, *found.ci95)
    if found.minus_other is not None and found.minus_other_ci95:
        line += ", minus the other's {:+.3f} [{:+.3f}, {:+.3f}]".format(found.minus_other, *found.minus_other_ci95)
    yield line
    left = ", ".join(f"{point.f1:.3f} of {1 - point.share:.0%}" for point in found.curve[::2])
    yield f"F1 where a reader takes the most doubtful reports: {left}"


def _code_lines(codes: CodeScores) -> Iterator[str]:
    titles = {"code": "ICD-10 codes", "category": "ICD-10 categories", "code_side": "codes and sides"}
    for rule, title in titles.items():
        if score := getattr(codes, rule):
            yield _score_line(title, score)
    for rule, mean in codes.per_report.items():
        yield f"averaged over reports, {titles.get(rule, 'names')}  {_measures(mean)}"
    if codes.hallucinated is not None and codes.hallucinated_ci95:
        low, high = codes.hallucinated_ci95
        yield f"{codes.hallucinated:.2f} [{low:.2f}, {high:.2f}] findings a report that nothing in gold is meant by"
    if codes.same_code is not None and codes.same_category is not None:
        yield (
            f"of {codes.n_matched} matched phrases with codes on both sides, {codes.same_code:.1%} have the same code, "
            f"{codes.same_category:.1%} the same category"
        )


def _agreement_line(found: Agreement) -> str:
    equal = "n/a" if found.agreement is None else f"{found.agreement:.1%}"
    return (
        f"agreement of {found.a} and {found.b}: kappa {kappa_text(found.kappa)} pooled, {equal} of the labels, "
        f"{found.exact:.1%} of the reports in all labels"
    )


def _comparison_lines(comparison: Comparison) -> Iterator[str]:
    yield f"predictions minus {comparison.other}:"
    for title, part in (("precision", comparison.precision), ("recall", comparison.recall), ("F1", comparison.f1)):
        low, high = part.ci95
        yield (
            f"  {title:<9}  {part.value:+.3f} [{low:+.3f}, {high:+.3f}]  p {part.p_bootstrap:.4f} (paired bootstrap)  "
            f"{part.p_randomization:.4f} (approximate randomization)"
        )


def _error_lines(errors: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    for side, title in (("fp", "false positives"), ("fn", "false negatives")):
        total = sum(errors[side].values())
        yield f"{total} {title}"
        for kind, count in sorted(errors[side].items(), key=lambda item: -item[1]):
            yield f"  {kind:<14}{count:>7}{count / total:>8.1%}"


def _first(parts: Iterable[str]) -> str:
    listed = list(parts)
    more = len(listed) - _NAMES_SHOWN
    return ", ".join(listed[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
