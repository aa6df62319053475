"""The tables of an evaluation, made from its ``metrics.json``; a part that the document has not gives no table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lungct.report.table import NONE, Table, interval, number, plain, probability, without_empty

_COUNTS = {"tp": "found", "fp": "false positives", "fn": "missed", "beyond_most": "marks beyond the most per scan"}
_RULES = {"grid": "10,000-point grid", "first_reached": "first reached"}
_OTHER_AP = {"voc_11_point": "VOC, 11 points", "voc_every_point": "VOC, every point"}


def tables_of(metrics: Mapping[str, Any]) -> list[Table]:
    """Every table that the document has something for, the headline first."""
    makers: tuple[Callable[[Mapping[str, Any]], Table | None], ...] = (
        ap_table,
        coco_table,
        froc_table,
        criteria_table,
        counts_table,
        size_table,
        category_table,
        other_ap_table,
        error_table,
        ratio_table,
        confusion_table,
        calibration_table,
        breakdown_table,
    )
    return [made for make in makers if (made := make(metrics)) is not None]


def ap_table(metrics: Mapping[str, Any]) -> Table | None:
    """AP and AR per IoU threshold, with their intervals."""
    columns = ("IoU", "AP", "95 % interval", "AR", "95 % interval")
    ap, ar, ci95 = (metrics.get(key) or {} for key in ("ap", "ar", "ci95"))
    rows = [
        [
            _iou(iou),
            number(ap[iou]),
            interval(ci95.get(f"ap@{iou}")),
            number(ar.get(iou)),
            interval(ci95.get(f"ar@{iou}")),
        ]
        for iou in ap
    ]
    return without_empty(Table("Average precision and recall", columns, rows)) if rows else None


def coco_table(metrics: Mapping[str, Any]) -> Table | None:
    """The twelve numbers of the COCO program."""
    found = metrics.get("coco") or {}
    sizes = ("all", "small", "medium", "large")
    rows = [
        [kind, *(number(found.get(key)) for key in keys)]
        for kind, keys in (
            ("AP .5 to .95", ("AP", "AP_small", "AP_medium", "AP_large")),
            ("AR .5 to .95, 100 detections", ("AR100", "AR_small", "AR_medium", "AR_large")),
        )
    ]
    few = [f"AP at .5 {number(found.get('AP50'))}, at .75 {number(found.get('AP75'))}"]
    few.append(f"AR of 1 detection {number(found.get('AR1'))}, of 10 {number(found.get('AR10'))}")
    return Table(f"COCO's summary: {'; '.join(few)}", ("by area in px", *sizes), rows) if found else None


def _iou(text: str) -> str:
    return f"mean of {text.replace(':', ' to ')}" if ":" in text else text


def froc_table(metrics: Mapping[str, Any]) -> Table | None:
    """Sensitivity at the FROC's operating points."""
    found = metrics.get("froc") or {}
    at = found.get("at") or {}
    if not at:
        return None
    ci95, scores = metrics.get("ci95") or {}, found.get("score_at") or {}
    rows = [["sensitivity", *(number(value) for value in at.values()), number(found.get("mean"))]]
    bounds = [interval(ci95.get(name)) for name in (*(f"sensitivity@{rate}fp" for rate in at), "froc_mean")]
    if set(bounds) != {NONE}:
        rows.append(["95 % interval", *bounds])
    if scores:
        rows.append(["at score", *(number(scores.get(rate)) for rate in at), NONE])
    rows += [
        [f"CPM, {_RULES.get(rule, rule)}", *[NONE] * len(at), f"{value:.6f}"]
        for rule, value in (found.get("cpm") or {}).items()
    ]
    columns = (f"false positives per {found.get('unit', 'slice')}", *map(_rate, at), "mean")
    return Table("FROC", columns, rows)


def _rate(rate: str) -> str:
    return {"0.125": "1/8", "0.25": "1/4", "0.5": "1/2"}.get(rate, f"{float(rate):g}")


def criteria_table(metrics: Mapping[str, Any]) -> Table | None:
    """The FROC of scans under stricter criteria of a hit."""
    rows = [
        [
            one["hit"],
            *(number(value) for value in (one["at"] or {}).values()),
            number(one["mean"]),
            interval(one["ci95"]),
        ]
        for one in metrics.get("criteria") or ()
        if one["at"]
    ]
    rates = (metrics.get("froc") or {}).get("at") or {}
    columns = ("what hits a nodule", *map(_rate, rates), "mean", "95 % interval")
    return without_empty(Table("Sensitivity by criterion", columns, rows)) if rows else None


def counts_table(metrics: Mapping[str, Any]) -> Table | None:
    """Hits, false alarms and misses at the operating point."""
    counts = dict(metrics.get("counts") or {})
    if not counts:
        return None
    score, ci95 = plain(counts.pop("score", None)), metrics.get("ci95") or {}
    rows = [
        [
            _COUNTS.get(key, key.replace("_", " ")),
            number(value) if isinstance(value, float) else plain(value),
            interval(ci95.get(key)),
        ]
        for key, value in counts.items()
    ]
    caption = "Counts" if score == NONE else f"Counts at score {score}"
    return without_empty(Table(caption, ("what", "value", "95 % interval"), rows))


def size_table(metrics: Mapping[str, Any]) -> Table | None:
    """AP and AR per class of size."""
    rows = [
        [f"{one['class']} {'mm' if one['unit'] == 'mm' else '(area in px)'}", plain(one["n"]), *_four(one)]
        for one in metrics.get("by_size") or ()
    ]
    return Table("By size of the box", ("longest side", "boxes", *_FOUR), rows) if rows else None


def category_table(metrics: Mapping[str, Any]) -> Table | None:
    """AP and AR per category, where there are several."""
    found = metrics.get("by_category") or ()
    rows = [[one["category"], plain(one["n"]), *_four(one)] for one in found]
    return Table("By category", ("category", "boxes", *_FOUR), rows) if len(rows) > 1 else None


_FOUR = ("AP at .5", "AP .5 to .95", "AR at .5", "AR .5 to .95")


def _four(one: Mapping[str, Any]) -> list[str]:
    return [_with_interval(one, kind, iou) for kind in ("ap", "ar") for iou in ("0.5", "0.5:0.95")]


def _with_interval(one: Mapping[str, Any], kind: str, iou: str) -> str:
    ci95 = (one.get("ci95") or {}).get(f"{kind}@{iou}")
    return number(one[kind].get(iou)) + (f" ({interval(ci95)})" if ci95 else "")


def other_ap_table(metrics: Mapping[str, Any]) -> Table | None:
    """AP by other conventions."""
    found = dict(metrics.get("other_ap") or {})
    if not found:
        return None
    by_score = found.pop("score_thresholds")
    rows = [
        [_OTHER_AP[name], iou, number(value), NONE] for name, by_iou in found.items() for iou, value in by_iou.items()
    ]
    rows.append(["11 score thresholds", f"{by_score['iou']:g}", number(by_score["map"]), number(by_score["mean_iou"])])
    return Table("AP by other conventions", ("convention", "IoU", "AP", "mean IoU"), rows)


def error_table(metrics: Mapping[str, Any]) -> Table | None:
    """The kinds of error and the AP that each takes."""
    rows = [
        [name.replace("_", " "), plain(one["n"]), number(one["dap"], signed=True)]
        for name, one in (metrics.get("errors") or {}).items()
    ]
    return (
        Table("Kinds of error at IoU .5, and the AP that mending them gives", ("kind", "errors", "dAP"), rows)
        if rows
        else None
    )


def ratio_table(metrics: Mapping[str, Any]) -> Table | None:
    """Areas of detections over areas of the boxes they hit."""
    found = metrics.get("area_ratios") or {}
    if not found.get("n"):
        return None
    keys = ("share", "mean", "median", "min", "max")
    rows = [[name, *(number(found[name][key]) for key in keys)] for name in ("bigger", "smaller")]
    return Table(f"Area of the detection over the true box, {plain(found['n'])} hits", ("detection", *keys), rows)


def confusion_table(metrics: Mapping[str, Any]) -> Table | None:
    """The confusion matrix, where there are several categories."""
    found = metrics.get("confusion") or {}
    names: Sequence[str] = found.get("categories") or ()
    if len(names) < 2:
        return None
    rows = [[name, *map(plain, row)] for name, row in zip((*names, "background"), found["counts"], strict=True)]
    return Table("Confusion of categories: true in rows, detected in columns", ("", *names, "missed"), rows)


def calibration_table(metrics: Mapping[str, Any]) -> Table | None:
    """How far the score is from the share of true detections."""
    found = metrics.get("calibration") or {}
    names = {"ece": "ECE", "d_ece": "D-ECE", "mce": "largest gap", "brier": "Brier score"}
    ci95 = metrics.get("ci95") or {}
    rows = [[shown, number(found[key]), interval(ci95.get(key))] for key, shown in names.items() if key in found]
    caption = f"Calibration of {plain(found.get('n'))} scores"
    return without_empty(Table(caption, ("measure", "value", "95 % interval"), rows)) if rows else None


def breakdown_table(metrics: Mapping[str, Any]) -> Table | None:
    """Sensitivity by attribute."""
    score = (metrics.get("counts") or {}).get("score")
    at = "sensitivity" if score is None else f"sensitivity at score {score:g}"
    columns = ("attribute", "level", "n", "patients", at, "95 % interval", "FROC mean", "95 % interval")
    rows = [
        [
            one["attribute"].replace("_", " "),
            one["level"],
            plain(one["n"]),
            plain(one["patients"]),
            number(one["sensitivity"]),
            interval(one["sensitivity_ci95"]),
            number(one["froc_mean"]),
            interval(one["froc_mean_ci95"]),
        ]
        for one in metrics.get("breakdown") or ()
    ]
    return without_empty(Table("Sensitivity by what is known of the nodule", columns, rows)) if rows else None


def comparison_tables(comparison: Mapping[str, Any]) -> list[Table]:
    """The values of every run, and the paired tests of each measure, from a ``comparison.json``."""
    runs, tests = comparison.get("runs") or (), comparison.get("tests") or ()
    tested = list(dict.fromkeys(str(one["measure"]) for one in tests))
    rows = [
        [one["name"], *(f"{number(one['values'].get(name))} ({interval(one['ci95'].get(name))})" for name in tested)]
        for one in runs
    ]
    columns = ("first", "second", "difference", "95 % interval", "p", "p (Holm)")
    tables = [Table("The runs, with 95 % intervals", ("run", *tested), rows)]
    for measure in tested:
        lines = [
            [
                one["a"],
                one["b"],
                number(one["difference"], signed=True),
                interval(one["ci95"]),
                probability(one["p"]),
                probability(one["p_holm"]),
            ]
            for one in tests
            if one["measure"] == measure
        ]
        tables.append(Table(f"{measure}: first minus second, in the same draws of patients", columns, lines))
    return tables
