from embridge.space import Space
from embridge.stores.places import Declaration, Place


def test_a_declaration_of_before_there_were_options_is_read():
    declared = Declaration(Space("toy", "1", 2), Place("items", "embedding"), options={"document_prompt": "passage: "})
    written = declared.to_dict()
    assert Declaration.from_dict(written) == declared
    del written["options"]
    assert Declaration.from_dict(written).options == {}
