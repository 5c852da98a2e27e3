"""Chat templates are programs of strangers: rendered in a sandbox, and for a while only.

Jinja's own sandbox, as transformers uses it, keeps a template away from Python's insides. It sets
no bound to loops within loops, to calls that call themselves, or to a text that is doubled again
and again. `Bounded` does: it takes the sandbox's place in transformers, so that every template is
rendered with it, and ends one in a jinja2.TemplateError. `within_bounds` starts the clock, and the
count of all that one rendering makes: before it is made where that could be much, else after.
"""

import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment
from transformers.utils import chat_template_utils

SECONDS = 5.0  # of the processor; a conversation takes thousandths
EACH = 0.001  # seconds more for each message
MANY = 1000  # messages, from which on it may be the conversation that takes so long
MOST = 64 << 20  # characters of texts and items of lists that one rendering makes
# What a text can do here; the others make much of little, or bytes.
METHODS = {
    "capitalize", "center", "count", "endswith", "find", "format", "format_map", "index", "isalnum",
    "isalpha", "isascii", "isdecimal", "isdigit", "islower", "isnumeric", "isspace", "istitle",
    "isupper", "join", "ljust", "lower", "lstrip", "partition", "removeprefix", "removesuffix",
    "replace", "rfind", "rindex", "rjust", "rpartition", "rsplit", "rstrip", "split", "splitlines",
    "startswith", "strip", "swapcase", "title", "upper", "zfill",
}  # fmt: skip
LARGEST = 100_000  # of the numbers that are given to what it calls, such as widths

_clock = threading.local()


class TooMuch(jinja2.TemplateError):
    """The template computes without end, or makes something without bounds."""


class OutOfTime(TooMuch):
    pass


@contextmanager
def within_bounds(messages: int, endless: list[TooMuch]) -> Iterator[None]:
    """In it a template renders one text, of so many messages. That it takes too long for a short
    one is noted in `endless`."""
    _clock.ends, _clock.made = time.thread_time() + SECONDS + EACH * messages, 0
    try:
        yield
    except OutOfTime as error:
        if messages < MANY:
            endless.append(error)
        raise
    except (RecursionError, OverflowError, MemoryError) as error:
        raise TooMuch("it goes on without end") from error
    finally:
        _clock.ends = None


class Bounded(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset(["+", "*", "**", "%"])

    def __init__(self, *options: Any, **more: Any) -> None:
        super().__init__(*options, **more)
        self.finalize = _taken
        self.filters = _Filters()
        for name, filter in {**jinja2.defaults.DEFAULT_FILTERS, "counted": _counted}.items():
            self.filters[name] = filter
        dict.__setitem__(self.filters, "taken", _taken)

    def _parse(self, *source: Any) -> nodes.Template:
        """Each loop looks at the clock at each of its turns; what is joined is counted before."""
        tree = super()._parse(*source)
        for loop in tree.find_all(nodes.For):
            loop.iter = _filtered(loop.iter, "counted")
        for joined in tree.find_all(nodes.Concat):
            joined.nodes = [_filtered(part, "taken") for part in joined.nodes]
        return tree

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        size = 0
        if operator == "+":
            if _sized(left) and _sized(right):
                size = len(left) + len(right)
        elif operator == "*":
            size = _many(left, right) or _many(right, left)
        elif operator == "**" and isinstance(left, int) and isinstance(right, int):
            size = 1000 * left.bit_length() * abs(right)
        elif operator == "%" and isinstance(left, str):
            _check_format(left)
            size = len(left) + _weight(right)
        _take(size)
        return super().call_binop(context, operator, left, right)

    def call(self, context: Any, what: Any, *given: Any, **named: Any) -> Any:
        _look()
        method = getattr(what, "__wrapped__", what)  # str.format comes wrapped
        owner = getattr(method, "__self__", None)
        if isinstance(owner, str):
            if method.__name__ not in METHODS:
                raise TooMuch(f"it asks a text for {method.__name__}")
            _check_work(method.__name__, owner, *given, *named.values())
        else:
            _check_numbers(*given, *named.values())
        made = super().call(context, what, *given, **named)
        _take(len(made) if _sized(made) else 0)
        return made


def _filtered(value: Any, name: str) -> nodes.Filter:
    return nodes.Filter(value, name, [], [], None, None, lineno=value.lineno)


def _counted(items: Iterable[Any]) -> Iterator[Any]:
    for item in items:
        _look()
        yield item


def _taken(value: Any) -> Any:
    """What becomes a part of a text."""
    _take(_weight(value))
    return value


class _Filters(dict[str, Callable[..., Any]]):
    """Whoever adds one: it is bounded."""

    def __setitem__(self, name: str, filter: Callable[..., Any]) -> None:
        super().__setitem__(name, _bounded(name, filter))


def _bounded(name: str, filter: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(filter)  # which keeps what it wants to be passed before the value
    def bounded(*given: Any, **named: Any) -> Any:
        own = given[hasattr(filter, "jinja_pass_arg") :]
        if name == "join" and own and not _sized(own[0]):  # it would be made before it is seen
            own = ([_taken(item) for item in own[0]], *own[1:])
            given = (*given[: len(given) - len(own)], *own)
        _check_work(name, *own, *named.values())
        made = filter(*given, **named)
        _take(len(made) if _sized(made) else 0)
        return made

    return bounded


def _check_work(name: str, *values: Any) -> None:
    """Of a function that makes a text of its values."""
    _check_numbers(*values)
    if name.startswith("format") and isinstance(values[0], str):
        _check_format(values[0])
        _take(_weight(values))
    elif name == "replace" and len(values) > 2 and isinstance(values[0], str):
        _take(values[0].count(str(values[1])) * len(str(values[2])))
    elif name == "join":
        listed = [value for value in values if isinstance(value, list | tuple)]
        glue = max((len(value) for value in values if isinstance(value, str)), default=0)
        _take(sum(glue + _weight(text) for one in listed for text in one))
    elif name in ("indent", "tojson", "wordwrap", "pprint", "string", "urlize", "xmlattr"):
        wide = [value for value in values[1:] if _weight(value) > 16 or _is_wide(value)]
        if wide:
            raise TooMuch("it makes a text without bounds")
        _take(_weight(values[0]) if values else 0)


def _is_wide(value: Any) -> bool:
    return isinstance(value, int) and value > 200


def _weight(value: Any) -> int:
    """How many characters it is at least as a text; no more is counted than is allowed."""
    if isinstance(value, str):
        return len(value)
    size = 0
    if isinstance(value, dict):
        value = [part for pair in value.items() for part in pair]
    if isinstance(value, list | tuple):
        for part in value:
            size += 2 + _weight(part)
            if size > MOST:
                break
    return size


def _check_format(text: str) -> None:
    """Widths of thousands, or such as come from elsewhere."""
    if re.search(r"\d{4}|%[^a-z%]*\*|\{[^{}]*\{", text):
        raise TooMuch("it makes a text without bounds")


def _check_numbers(*values: Any) -> None:
    for value in values:
        if isinstance(value, int) and abs(value) > LARGEST:
            raise TooMuch(f"it names a number above {LARGEST:,}")


def _many(what: Any, times: Any) -> int:
    return len(what) * max(0, times) if _sized(what) and isinstance(times, int) else 0


def _sized(value: Any) -> bool:
    return isinstance(value, str | list | tuple)


def _take(size: int) -> None:
    counting = getattr(_clock, "ends", None) is not None
    made = size + (_clock.made if counting else 0)
    if made > MOST:
        raise TooMuch("it makes a text without bounds")
    _clock.made = made


def _look() -> None:
    ends = getattr(_clock, "ends", None)
    if ends is not None and time.thread_time() > ends:
        raise OutOfTime(f"it takes longer than {SECONDS:.0f} seconds")


chat_template_utils.ImmutableSandboxedEnvironment = Bounded
