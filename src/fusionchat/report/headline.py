"""The result of a run in a few sentences."""

from fusionchat.evaluate.metric import Metric
from fusionchat.evaluate.noise import Gain, Gains
from fusionchat.report import results, text
from fusionchat.report.model import Report, Row
from fusionchat.units import counted


def headline(report: Report) -> str:
    """The fused model's result, its gains over SFT and the soup, and where it wins and loses.

    A few sentences.
    """
    row, metric = report.row(report.fused), report.primary
    found = row.value(metric) if row and metric else None
    if row is None or metric is None or found is None:
        return "This run has no fused model that was evaluated."
    value = found.overall
    figure = f"{value.value * metric.scale:.{text.decimals([value], metric)}f} {metric.unit}"
    verb = "needs" if metric.better == "lower" else "reaches"
    said = f"The fused model ({row.label}) {verb} {figure} of held-out text"
    gains, over_soup = row.gain(metric), row.gain(metric, "soup")
    if gains is None:
        return said + "."
    parts = [_gain_words(gains.overall, report.baseline, metric)]
    if over_soup is not None:
        parts.append(_gain_words(over_soup.overall, f"the soup of {report.sft_seeds} SFT seeds", metric))
    sentences = [
        f"{said}, {' and '.join(parts)}.",
        _self_words(report, metric),
        _task_words(report, row),
        _noise_words(report),
        _domain_words(gains, report),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _gain_words(gain: Gain, baseline: str, metric: Metric) -> str:
    """``0.0078 less than SFT (95 % interval 0.0034 to 0.0122)``.

    The interval is that of the stated difference, less or more.
    """
    places, scale = text.decimals([gain], metric), metric.scale
    less = (gain.value >= 0) == (metric.better == "lower")
    size = f"{abs(gain.value) * scale:.{places}f} {'less' if less else 'more'} than {baseline}"
    if gain.interval is None:
        error = "unknown" if gain.se is None else f"{gain.se * scale:.{places}f}"
        return f"{size} (standard error from sampling {error}, not known to be a difference)"
    low, high = gain.interval if gain.value >= 0 else (-gain.interval[1], -gain.interval[0])
    verdict = "" if gain.is_clear else "no clear difference, "
    return f"{size} ({verdict}95 % interval {low * scale:.{places}f} to {high * scale:.{places}f})"


def _self_words(report: Report, metric: Metric) -> str:
    """What the same training gains without any source, if the run has tried it."""
    row = next((row for row in report.rows if row.kind == "self"), None)
    gains = row.gain(metric) if row else None
    if gains is None:
        return ""
    verb = "needs" if metric.better == "lower" else "reaches"
    words = _gain_words(gains.overall, report.baseline, metric)
    return f"Distilled from itself, without any source, the pivot {verb} {words}."


def _task_words(report: Report, row: Row) -> str:
    """In how many other tasks the fused model gains clearly; those at their floor do not count."""
    gains = {m.title: g.overall for m in report.metrics[1:] if m not in report.floored and (g := row.gain(m))}
    if not gains or not text.noise(report):
        return ""
    tones = {title: results.tone(gain) for title, gain in gains.items()}
    won, lost = ([name for name, t in tones.items() if t == which] for which in ("gain", "loss"))
    parts = [f"clearly better in {', '.join(won)}"] if won else []
    parts += [f"clearly worse in {', '.join(lost)}"] if lost else []
    said = " and ".join(parts) or "neither clearly better nor clearly worse in any"
    return f"Of {counted(len(tones), 'other task')} it is {said}."


def _noise_words(report: Report) -> str:
    known = text.noise(report)
    if not known:
        return (
            "No training was repeated, so the training noise is unknown and no gain is called clear "
            "(`compare.sft_seeds: 3` repeats SFT)."
        )
    return f"Intervals are by Student's t, with training noise from {known}."


def _domain_words(gain: Gains, report: Report) -> str:
    if not gain.domains or not text.noise(report):
        return ""
    tones = {name: results.tone(e) for name, e in gain.domains.items()}
    won, lost = ([name for name, t in tones.items() if t == which] for which in ("gain", "loss"))
    losses = f"loses clearly in {len(lost)} ({', '.join(lost)})" if lost else "loses clearly in none"
    return f"Over {report.baseline} it gains clearly in {len(won)} of {counted(len(tones), 'domain')} and {losses}."
