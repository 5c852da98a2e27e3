"""Numbers, dates and states in plain words, each with its unit and one sensible precision."""

import time
from collections.abc import Sequence
from typing import Any

from core.hardware import BUSY

ORDINALS = ("next", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth")
PILLS = {
    "queued": "Waiting",
    "running": "Learning",
    "completed": "Finished",
    "stopped": "Stopped",
    "failed": "Failed",
    "paused": "Paused",
    "interrupted": "Interrupted",
    "damaged": "Damaged",
}
ORIGINS = {"imported": "Imported", "blended": "Blended"}
STOPPING = {
    "keep": "Stopping. What it learned so far is being saved.",
    "pause": "Pausing. What it learned so far is being saved.",
    "discard": "Stopping. It is thrown away.",
}
DASH = "–"


def duration(seconds: float | None) -> str:
    """'under a minute', 'about 6 min', 'about 2 h 10 min', 'about 3 days'; '–' when unknown."""
    if seconds is None:
        return DASH
    minutes = round(seconds / 60)
    if minutes < 1:
        return "under a minute"
    if minutes < 60:
        return f"about {minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"about {hours} h" + (f" {round(minutes, -1)} min" if 5 <= minutes < 55 else "")
    days = round(hours / 24)
    return f"about {days} day" + ("s" if days > 1 else "")


def took(seconds: float | None) -> str:
    """A time that was measured: '48 s', '6 min', '2 h 10 min'."""
    if seconds is None:
        return DASH
    return f"{seconds:.0f} s" if seconds < 60 else duration(seconds).removeprefix("about ")


def size(bytes: float | None) -> str:
    """'820 KB', '12 MB', '1.3 GB' (powers of 1,000); '–' when unknown."""
    if bytes is None:
        return DASH
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if bytes >= scale * 0.9995:
            value = bytes / scale
            return f"{value:.1f} {unit}" if value < 10 else f"{value:,.0f} {unit}"
    return f"{bytes:.0f} bytes"


def number(value: float | None) -> str:
    return DASH if value is None else f"{value:,.0f}"


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def loss(value: float | None) -> str:
    if value is None:
        return DASH
    if 0 < abs(value) < 0.0005:
        return "under 0.001"
    return f"{value:.2f}" if abs(value) >= 0.1 or value == 0 else f"{value:.3f}"


def short(value: float | int | None) -> str:
    """A setting's number without noise: 16, 0.0003, 1.5, 2,000."""
    if value is None:
        return DASH
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"


def parameters(count: float | None) -> str:
    """'14 million', '7.6 billion'."""
    if not count:
        return DASH
    for word, scale in (("billion", 1e9), ("million", 1e6), ("thousand", 1e3)):
        if count >= scale * 0.9995:
            return f"{count / scale:.3g} {word}"
    return f"{count:.0f}"


def amount(count: int, one: str, many: str = "") -> str:
    """'1 example', '1,240 examples'."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def listed(items: Sequence[str]) -> str:
    """'1', '1 and 2', '1, 2 and 3'."""
    *most, last = items
    return f"{', '.join(most)} and {last}" if most else last


def when(moment: float, now: float | None = None) -> str:
    """'today 14:15', 'yesterday 09:02', 'Monday 3 November', '3 November 2025'."""
    then, today = time.localtime(moment), time.localtime(now)
    clock = time.strftime("%H:%M", then)
    days = _day_number(today) - _day_number(then)
    if days <= 0:
        return f"today {clock}"
    if days == 1:
        return f"yesterday {clock}"
    day = f"{then.tm_mday} {time.strftime('%B', then)}"
    return f"{time.strftime('%A', then)} {day}" if days < 180 else f"{day} {then.tm_year}"


def date(moment: float) -> str:
    """'3 November 2025'."""
    then = time.localtime(moment)
    return f"{then.tm_mday} {time.strftime('%B %Y', then)}"


def soon(moment: float, now: float | None = None) -> str:
    """An estimate: 'in a moment', 'in about 6 min', 'at about 14:20', 'tomorrow at about 02:40',
    'in about 3 days'.

    Clock times are rounded to five minutes, which is no less than they can be trusted."""
    now = time.time() if now is None else now
    if moment - now < 60:
        return "in a moment"
    if moment - now < 20 * 60:
        return f"in {duration(moment - now)}"
    then = time.localtime(round(moment / 300) * 300)
    clock = f"at about {time.strftime('%H:%M', then)}"
    days = _day_number(then) - _day_number(time.localtime(now))
    if days > 1:
        return f"in {duration(moment - now)}"
    return f"tomorrow {clock}" if days == 1 else clock


def _day_number(moment: time.struct_time) -> int:
    return int(time.mktime((*moment[:3], 12, 0, 0, 0, 0, -1))) // 86_400


def place(position: int | None) -> str:
    """Its place in the line: 'next', 'second', …, 'number 12'."""
    if not position:
        return ""
    return ORDINALS[position - 1] if position <= len(ORDINALS) else f"number {position}"


def line(waiting: int, ends: float | None) -> str:
    """How many runs wait and when the last of them is done, if that is known; empty for none."""
    if not waiting:
        return ""
    done = f" All done {soon(ends)}." if ends is not None else ""
    return f"{amount(waiting, 'run waits', 'runs wait')} in line.{done}"


def pill(run: dict[str, Any]) -> str:
    if run["status"] == "running" and not run["progress"]["step"]:
        return "Preparing"
    if run["status"] == "completed" and (kind := run.get("origin", {}).get("kind")) in ORIGINS:
        return ORIGINS[kind]
    return PILLS[run["status"]]


def status_line(run: dict[str, Any]) -> str:
    """What a run does and what there is to do about it: one or two sentences."""
    progress, result = run["progress"], run["result"]
    match run["status"]:
        case "queued":
            return _waiting(run)
        case "running" if how := run.get("stopping"):
            return STOPPING[how]
        case "running" if run.get("ends"):
            phase = (run["phase"] or "starting").rstrip(".… ")
            return f"{phase[:1].upper()}{phase[1:]}. Then what it learned is kept."
        case "running" if not progress["step"]:
            phase = (run["phase"] or "starting").rstrip(".… ")
            return f"{phase[:1].upper()}{phase[1:]}. You can close this page."
        case "running":
            left = progress["seconds_left"]
            ahead = f" {duration(left).capitalize()} left." if left is not None else ""
            if (progress.get("slowdown") or 1) > BUSY:
                ahead += " Other programs keep this computer busy, so it takes longer."
            return f"Learning.{ahead} You can close this page."
        case "completed" if (kind := run.get("origin", {}).get("kind")) in ORIGINS:
            return f"{ORIGINS[kind]}. Compare its answers with the original's."
        case "completed":
            spent = f" in {took(result['seconds'])}" if result.get("seconds") else ""
            return f"Finished{spent}. Compare its answers with the original's."
        case "stopped" if run.get("is_final"):
            return "Stopped. What it learned is kept: try it. Its checkpoints were deleted."
        case "stopped" if run["has_adapter"]:
            used, step = result.get("used_step"), result.get("step")
            best = f" It answers as at step {used}, where it was best." if used != step else ""
            return f"Stopped. What it learned is kept: try it or continue.{best}"
        case "stopped" if run["saved_step"]:
            return (
                f"Stopped. It was saved at step {run['saved_step']:,}: continue, or keep what it "
                "learned."
            )
        case "stopped":
            return "Stopped before it learned anything. Continue when you like."
        case "paused" if run["error"]:
            return f"Paused. {run['error']} Clean up, then Resume."
        case "paused":
            return f"Paused. Resume when you like: it is {place(run['kept_place'])} in line then."
        case "failed":
            return f"Failed: {run['error'] or 'the reason is in the log'}"
        case "damaged":
            return f"This run can’t be shown: {run['error']}"
        case _:
            saved = run["saved_step"]
            return "Interrupted: the computer or the program went off. Resume to go on from " + (
                f"step {saved:,}." if saved else "the start."
            )


def _waiting(run: dict[str, Any]) -> str:
    """What a run waits for, and until when as far as that is known."""
    where = place(run.get("position"))
    waiting = f"Waiting in line, {where}." if where else "Waiting in line."
    if run.get("ends") and not run["phase"]:
        begins = f" Begins {soon(run['begins_at'])}." if run.get("begins_at") else ""
        return f"{waiting}{begins} Then what it learned is kept, which takes some seconds."
    again = run["progress"]["step"] and not run.get("ends")
    if again:
        saved = run["saved_step"]
        waiting += f" It goes on from step {saved:,}." if saved else " It begins anew."
    if run["phase"]:
        return f"{waiting} {run['phase']}"
    if not run.get("begins_at"):
        return waiting if again else f"{waiting} It begins by itself."
    done = f"done {soon(run['ends_at'])}."
    if done == "done in a moment.":
        return f"{waiting} {done.capitalize()}"
    return f"{waiting} Begins {soon(run['begins_at'])}, {done}"
