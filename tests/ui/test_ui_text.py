from mace_app.ui.text import code, count, markdown, number, sentence_html, sentence_markdown


def test_text_from_a_file_keeps_no_markdown_meaning() -> None:
    assert markdown("**[a](http://x)** :red[b] $c$ <b>") == r"\*\*\[a\](http\://x)\*\* \:red\[b\] \$c\$ \<b\>"
    assert markdown("www.example.org a@b.c") == r"www\.example.org a\@b.c"
    assert [markdown(text) for text in ("- a", "1. a", "MACE's .5")] == [r"\- a", r"1\. a", "MACE's .5"]
    assert markdown("two\n# lines") == r"two \# lines"
    assert code("a`b\nc") == "`a'b c`"


def test_a_sentence_keeps_its_code_and_nothing_else() -> None:
    text = "`<img>` is no key of <b>file</b>."
    assert sentence_html(text) == "<code>&lt;img&gt;</code> is no key of &lt;b&gt;file&lt;/b&gt;."
    assert sentence_markdown(text) == r"`<img>` is no key of \<b\>file\</b\>."


def test_numbers_read_back_as_themselves() -> None:
    assert [number(value) for value in (5e-7, 0.01, 4.0, 1 / 3)] == ["5e-07", "0.01", "4", repr(1 / 3)]
    assert count(1, "structure") == "1 structure"
    assert count(12345, "structure") == "12\u202f345 structures"
