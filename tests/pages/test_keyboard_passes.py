"""The passes of the browser test reach every option that is built."""

from keyboard_passes import NOT_TYPED, TYPED, options_of, schema_fields, typed_fields

from mace_app.options import RunOptions, parse_options


def test_every_option_is_typed_in_a_pass_or_left_out_with_a_reason() -> None:
    schema = schema_fields()
    typed = {name for values in TYPED.values() for name in typed_fields(RunOptions, values)}
    assert len(schema) > 90 and typed <= set(schema)
    assert sorted(set(schema) - typed - set(NOT_TYPED)) == []


def test_what_is_left_out_is_an_option_that_no_pass_types() -> None:
    typed = {name for values in TYPED.values() for name in typed_fields(RunOptions, values)}
    assert sorted(set(NOT_TYPED) - set(schema_fields())) == []
    assert sorted(set(NOT_TYPED) & typed) == []


def test_every_pass_ends_with_options_that_hold() -> None:
    for name in TYPED:
        parse_options(options_of(name, "everything.xyz"))
