"""The page that asks for the token. It needs no script and loads nothing."""

from html import escape

from starlette.responses import HTMLResponse

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>MACE Studio: token</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1.25rem; box-sizing: border-box;
  font: 1rem/1.5 -apple-system, "Segoe UI", Roboto, sans-serif;
  background: light-dark(#f3f5f9, #12151c); color: light-dark(#1a2233, #e6e9f0); }}
main {{ width: 100%; max-width: 27rem; box-sizing: border-box; padding: 1.75rem; border-radius: 0.5rem;
  background: light-dark(#ffffff, #1c212c); border: 1px solid light-dark(#d5dae4, #343b4a); }}
h1 {{ margin: 0 0 0.75rem; font-size: 1.4rem; font-weight: 650; }}
p {{ margin: 0 0 1rem; }}
code {{ font-size: 0.9em; }}
label {{ display: block; margin-bottom: 0.3rem; font-weight: 550; }}
input, button {{ font: inherit; width: 100%; box-sizing: border-box; padding: 0.55rem 0.75rem; border-radius: 0.5rem; }}
input {{ margin-bottom: 1rem; color: inherit; background: light-dark(#ffffff, #12151c);
  border: 1px solid light-dark(#8a93a5, #6b7689); }}
button {{ border: 0; font-weight: 600; cursor: pointer; background: light-dark(#2f5fd0, #85a8ff);
  color: light-dark(#ffffff, #0f1626); }}
input:focus-visible, button:focus-visible {{ outline: 3px solid light-dark(#2f5fd0, #85a8ff); outline-offset: 2px; }}
.error {{ color: light-dark(#b3261e, #ff9b93); }}
</style>
</head>
<body>
<main>
<h1>MACE Studio</h1>
<p>This server asks for its token. Who started it chose one, or finds it in the address that was printed at the start;
in a container <code>docker logs</code> shows it.</p>
{problem}<form method="post" action="/login">
<label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<input type="hidden" name="next" value="{place}">
<button type="submit">Open</button>
</form>
</main>
</body>
</html>
"""


def login_page(place: str, problem: str = "", status: int = 401) -> HTMLResponse:
    """The form; a right token leads to ``place``. ``problem`` is a sentence about the last try."""
    shown = f'<p class="error" role="alert">{escape(problem)}</p>\n' if problem else ""
    return HTMLResponse(
        _PAGE.format(problem=shown, place=escape(place)), status_code=status, headers={"Cache-Control": "no-store"}
    )
