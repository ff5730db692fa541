"""Small data and readable pages for the tests in this folder."""

import html

from streamlit.testing.v1 import AppTest


def water(count: int, extra: str = "", element: str = "O") -> str:
    """``count`` structures of three atoms with energies and forces, as extended XYZ."""
    frames = []
    for number in range(count):
        shift = 0.01 * number
        frames.append(
            f'3\nProperties=species:S:1:pos:R:3:forces:R:3 energy={-14.0 - shift} {extra} pbc="F F F"\n'
            f"{element} 0 0 0 0.1 0 {shift}\nH 0.96 0 {shift} -0.1 0 0\nH -0.24 0.93 0 0 0 {-shift}\n"
        )
    return "".join(frames)


def all_text(app: AppTest) -> str:
    """Everything a person can read on the page, without Markdown's escapes."""
    parts = [element.value for element in (*app.markdown, *app.caption, *app.header, *app.subheader, *app.title)]
    parts += [str(element.proto) for element in (*app.error, *app.info, *app.warning, *app.success)]
    parts += [block.label for block in app.expander]
    parts += [block.proto.body for block in app.get("html")]
    parts += [
        widget.label
        for kind in ("text_input", "number_input", "toggle", "selectbox", "button_group", "multiselect")
        for widget in app.get(kind)
    ]
    for table in app.table:
        parts += [str(value) for row in table.value.itertuples() for value in row]
    return html.unescape("\n".join(str(part) for part in parts).replace("\\", "").replace("\u2060", ""))
