"""Metrics as a terminal shows them."""

from collections.abc import Iterator, Sequence

from radtune.metrics.evaluation import Metrics
from radtune.metrics.scores import Score

# Names that a model makes up can be long and many; metrics.json has them all.
_NAMES_SHOWN = 10
_NAME_WIDTH = 40


def metrics_text(metrics: Metrics) -> str:
    """A table of the classes, the micro line with its interval, and what needs a remark."""
    return "\n".join(_lines(metrics))


def _lines(metrics: Metrics) -> Iterator[str]:
    if metrics.per_class:
        yield from _class_table(metrics)
    yield _score_line("micro", metrics.micro)
    if metrics.one_to_one:
        yield _score_line("one-to-one", metrics.one_to_one)
    if metrics.macro:
        absent = sum(score.support == 0 for score in metrics.per_class.values())
        remark = f"  ({absent} of 13 classes without a gold case count as 0)" if absent else ""
        yield (
            f"macro  precision {metrics.macro['precision']:.3f}  recall {metrics.macro['recall']:.3f}  "
            f"F1 {metrics.macro['f1']:.3f}{remark}"
        )
    drawn = "{resamples} draws of {n_units} {unit}s".format(**metrics.bootstrap)
    yield f"{metrics.task}: {metrics.n_reports} reports; 95 % intervals from {drawn}"
    failed = {status: count for status, count in metrics.status_counts.items() if status != "ok"}
    if failed:
        yield f"counted as empty predictions: {', '.join(f'{count} {status}' for status, count in failed.items())}"
    for side, names in metrics.other_names.items():
        if names:
            yield f"names in {side} that are none of the 13, counted as wrong: {_names(names)}"


def _class_table(metrics: Metrics) -> Iterator[str]:
    width = max(map(len, metrics.per_class))
    yield f"{'':{width}}  precision  recall     F1  support    tp    fp    fn"
    for name, score in metrics.per_class.items():
        occurs = score.support + score.fp > 0
        ratios = [f"{value:.3f}" if occurs else "-" for value in (score.precision, score.recall, score.f1)]
        yield (
            f"{name:{width}}  {ratios[0]:>9}  {ratios[1]:>6}  {ratios[2]:>5}  {score.support:7d}"
            f"  {score.tp:4d}  {score.fp:4d}  {score.fn:4d}"
        )


def _score_line(title: str, score: Score) -> str:
    low, high = score.ci95["f1"]
    return (
        f"{title}  precision {score.precision:.3f}  recall {score.recall:.3f}  F1 {score.f1:.3f} "
        f"[{low:.3f}, {high:.3f}]  tp {score.tp}  fp {score.fp}  fn {score.fn}"
    )


def _names(names: dict[str, int]) -> str:
    shown: Sequence[str] = [f"{name[:_NAME_WIDTH]!r} x{count}" for name, count in list(names.items())[:_NAMES_SHOWN]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")
