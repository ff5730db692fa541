from mace_app.ui.text import badge_label, code, count, markdown, number, sentence_html, sentence_markdown


def test_text_from_a_file_keeps_no_markdown_meaning() -> None:
    assert markdown("**[a](ftp:x)** :red[b] $c$ <b>") == r"\*\*\[a\](ftp\:x)\*\* \:red\[b\] \$c\$ \<b\>"
    assert [markdown(text) for text in ("- a", "1. a", "MACE's .5")] == [r"\- a", r"1\. a", "MACE's .5"]
    assert markdown("two\n# lines") == r"two \# lines"
    assert code("a`b\nc") == "`a'b c`"
    assert badge_label(r"[a](x) \[ *b*") == r"[a](x) \\[ \*b\*", "Streamlit puts a backslash before each bracket"


def test_what_is_looked_for_in_the_finished_text_is_kept_apart() -> None:
    shown = {
        ":material/home: :streamlit:": r"\:·material/home\: \:·streamlit\:",
        ":smile: :+1:": r"\:·smile\: \:·+1\:",
        "https://a.b www.a.b WWW.a a.b@c.d": r"https\:·//a.b www·.a.b WWW·.a a.b·\@c.d",
        "a -> b <- c <-> d -- e >= f": r"a -·\> b \<·- c \<·-\> d -·- e \>·\= f",
        "mtt::dipole x->y --flag a@ 1:2": r"mtt\:\:dipole x-\>y --flag a\@ 1\:2",
    }
    assert {text: markdown(text) for text in shown} == {
        text: wanted.replace("·", "\u2060") for text, wanted in shown.items()
    }
    assert code(":material/x:") == "`:\u2060material/x:`", "Streamlit rewrites this everywhere in its source"


def test_a_sentence_keeps_its_code_and_nothing_else() -> None:
    text = "`<img>` is no key of <b>file</b>."
    assert sentence_html(text) == "<code>&lt;img&gt;</code> is no key of &lt;b&gt;file&lt;/b&gt;."
    assert sentence_markdown(text) == r"`<img>` is no key of \<b\>file\</b\>."


def test_numbers_read_back_as_themselves() -> None:
    assert [number(value) for value in (5e-7, 0.01, 4.0, 1 / 3)] == ["5e-07", "0.01", "4", repr(1 / 3)]
    assert count(1, "structure") == "1 structure"
    assert count(12345, "structure") == "12\u202f345 structures"
