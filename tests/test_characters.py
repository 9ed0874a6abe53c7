"""Characters: what stands between the letters goes, and every character of the copy knows where it stood."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radtune.characters import language_of, normalise


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("No eﬀusion, conﬂuent opaciﬁcation.", "No effusion, confluent opacification."),
        ("Pulmonary œdema; hæmorrhage", "Pulmonary oedema; haemorrhage"),
        ("pneu\xadmo\u200bthorax\ufeff", "pneumothorax"),
        ("no pneumo-\nthorax", "no pneumothorax"),
        ("NO PNEUMO-  \r\n  THORAX", "NO PNEUMOTHORAX"),
        ("pleu\xad\nral", "pleural"),
        ("right-\nsided, gas-\nlike, x-\nray, end-\notracheal", "right-sided, gas-like, x-ray, endotracheal"),
        ("Lungs-\nClear", "Lungs-\nClear"),
        ("none -\nclear; T3-\n4", "none -\nclear; T3-\n4"),
        ("No pleural\n\nPage 3 of 4\n\neffusion today.", "No pleural\neffusion today."),
        ("There is no\n\f\npneumothorax\fnor", "There is no\npneumothorax\nnor"),
        ("see page 2 of 3 there", "see page 2 of 3 there"),
        ("Page 2/3", "Page 2/3"),
        ("No edema，no effusion：none（stable）　ＣＴ", "No edema,no effusion:none(stable) CT"),
        ("心影增大。", "心影增大。"),
        ("a\xa0b\u2009c\u2028d\x85e\x1bf\tg", "a b c\nd\ne f\tg"),
        ("“no” – it’s 5 ‑ 6", "\"no\" - it's 5 - 6"),
        ("● one\n▪ two", "• one\n• two"),
        ("FINDINGS:&nbsp;Clear.<br/>No <b>edema</b> &amp; 3 &lt; 5<p>x</p>", "FINDINGS: Clear.\nNo edema & 3 < 5\nx\n"),
        ("nodule < 6 mm, p<br and A&B; &unknown;", "nodule < 6 mm, p<br and A&B; &unknown;"),
        ("No edema~Small effusion, ~5 mm ~ 6", "No edema\nSmall effusion, ~5 mm ~ 6"),
        (r"Clear.\par Small\.br\Normal\nEnd", "Clear.\nSmall\nNormal\nEnd"),
        ("u\u0308ber", "über"),
        ("one\r\ntwo\rthree", "one\ntwo\nthree"),
    ],
)  # fmt: skip
def test_oddities_go(text: str, plain: str) -> None:
    assert normalise(text).text == plain


def test_a_span_leads_back_to_what_was_written() -> None:
    text = "A small eﬀusion and pneumo-\r\nthorax, nu\u0308l."
    found = normalise(text)
    written = {"effusion": "eﬀusion", "ef": "eﬀ", "pneumothorax": "pneumo-\r\nthorax", "nül": "nu\u0308l"}
    for word, place in written.items():
        start = found.text.index(word)
        begin, end = found.span(start, start + len(word))
        assert text[begin:end] == place
    assert found.span(0, 0) == (0, 0)


_ODD = st.sampled_from(
    ["ﬁ", "-\n", "\xad", "\r", "\n", "\f", "page 1 of 2", "<br>", "&amp;", "\u0301", "~", "\\n", "Ａ", " "]
)


@given(st.lists(st.one_of(_ODD, st.text(max_size=3), st.sampled_from(["edema", "No"]))).map("".join))
def test_offsets_rise_and_letters_stay(text: str) -> None:
    found = normalise(text)
    assert len(found.offsets) == len(found.text) + 1 and found.offsets[-1] == len(text)
    assert all(a <= b for a, b in zip(found.offsets, found.offsets[1:], strict=False))
    for place, character in zip(found.offsets, found.text, strict=False):
        if character in "dmNo" and text[place] not in "&\\<ﬁ":
            assert text[place] == character or ord(text[place]) > 127


@pytest.mark.parametrize(
    "unit", ["-\n", " ", "\n", "\r", "page 1", "<", "&", "-", "~", "\\", "e\u0301", "\n ", "a-\n", "\f"]
)
def test_time_is_linear(unit: str) -> None:
    started = time.process_time()
    normalise(unit * (250_000 // len(unit)))
    # Quadratic behaviour takes minutes here.
    assert time.process_time() - started < 6


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "No acute disease."),
        ("en", "Heart enlarged. Lungs clear. Dr. von der Heide was called."),
        ("en", "1. Severe synovitis.\n2. Redemonstrated patchy marrow edema.\n3. Probable intra-articular body."),
        ("de", "Kein Pneumothorax."),
        ("de", "Pleuraerguss rechts."),
        ("de", "Pneumothorax ausgeschlossen"),
        ("fr", "Pas de pneumothorax."),
        ("fr", "Nodule pulmonaire."),
        ("fr", "Absence de pneumothorax."),
        ("es", "Sin edema."),
        ("pt", "Pneumonia direita."),
        ("nl", "Geen pneumothorax."),
        ("", "Pleural thickening. Per Dr. de la Cruz."),
        ("de", "Kein Erguss. Herz normal groß."),
        ("de", "Kein Nachweis eines Pneumothorax, linksseitiger Pleuraerguss. PICC-Line von rechts."),
        ("fr", "Pas d'épanchement pleural. Le coeur est de taille normale."),
        ("es", "No se observa derrame pleural. Silueta cardíaca normal."),
        ("it", "Non versamento pleurico. Ombra cardiaca nei limiti."),
        ("nl", "Cor globaal niet vergroot. Geen pleuravocht."),
        ("ru", "Лёгкие чистые"),
        ("zh", "心影增大，CT。"),
        ("und", "Plíce bez ložiskových změn. Srdce normální velikosti. Pleura bez výpotku."),
        ("fi", "Sydän on normaalin kokoinen. Ei pleuranestettä."),
        ("id", "Paru dalam batas normal. Tidak tampak efusi."),
        ("en", "No e/o edema / effusion."),
        ("", "Cardiomegaly."),
        ("", "RLL infiltrate ± sm effn. HS NAD. PTX nil. CPA clr."),
        ("", "123"),
    ],
)
def test_languages(language: str, text: str) -> None:
    assert language_of(text) == language
