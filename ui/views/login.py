"""The login, a page of its own: whoever sees it sees nothing else."""

from functools import cache
from html import escape
from pathlib import Path
from urllib.parse import quote

from ui.views.parts import MARK, notice, only_if

UI = Path(__file__).parent.parent
DARK = """if (matchMedia('(prefers-color-scheme: dark)').matches)
  document.documentElement.classList.add('dark')"""


def page(problem: str = "", name: str = "", to: str = "/") -> str:
    """The whole page; `to` is where a login leads."""
    again = only_if(bool(name), "autofocus")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Graft: log in</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_style()}</style><script>{DARK}</script></head>"
        f'<body class="gradio-container at-the-door"><main><a class="brand" href="./">{MARK}'
        f'<span>Graft</span></a><form class="card" method="post" action="login?to={quote(to)}">'
        f"<h1>Log in</h1>{notice(problem, kind='bad') if problem else ''}"
        '<label>Name<input name="username" autocomplete="username" autocapitalize="none" required '
        f'value="{escape(name)}"{"" if name else " autofocus"}></label>'
        '<label>Password<input name="password" type="password" autocomplete="current-password" '
        f"required {again}></label>"
        '<button type="submit">Log in</button></form>'
        '<p class="small">No account? Ask who runs this Graft.</p></main></body></html>'
    )


@cache
def _style() -> str:
    return "".join((UI / file).read_text("utf-8") for file in ("style.css", "login.css"))
