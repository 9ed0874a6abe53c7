"""Label tables in MIMIC-CXR's official layout, and the 13 classes."""

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radtune.config import InputError
from radtune.findings import (
    FINDINGS,
    LABEL_COLUMNS,
    NO_FINDING,
    canonical_finding,
    read_label_table,
    write_label_table,
)

# The header of mimic-cxr-2.0.0-negbio.csv.gz and -chexpert.csv.gz: No Finding stands among the classes there.
OFFICIAL_HEADER = ",".join(["subject_id", "study_id", *sorted(LABEL_COLUMNS)])


def test_the_classes_are_the_papers() -> None:
    assert len(FINDINGS) == 13
    assert list(FINDINGS) == sorted(FINDINGS)
    assert NO_FINDING not in FINDINGS


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("Edema", "Edema"),
        (" pleural EFFUSION ", "Pleural Effusion"),
        ("No Finding", None),
        ("Edemas", None),
        ("", None),
    ],
)
def test_canonical_finding(name: str, canonical: str | None) -> None:
    assert canonical_finding(name) == canonical


def test_an_official_table(tmp_path: Path) -> None:
    path = tmp_path / "mimic-cxr-2.0.0-chexpert.csv.gz"
    columns = sorted(LABEL_COLUMNS)
    cells = {"Edema": "1.0", "Cardiomegaly": "-1.0", "Pneumothorax": "0.0", "No Finding": ""}
    row = ",".join(["10000032", "50414267", *(cells.get(name, "") for name in columns)])
    path.write_bytes(gzip.compress(f"{OFFICIAL_HEADER}\n{row}\n".encode()))
    table = read_label_table(path)
    values = dict(zip(LABEL_COLUMNS, table.rows["50414267"], strict=True))
    assert {name: value for name, value in values.items() if value is not None} == {
        "Edema": 1,
        "Cardiomegaly": -1,
        "Pneumothorax": 0,
    }
    assert table.patient_ids == {"50414267": "10000032"}
    assert table.positives("50414267") == ["Edema"]


def test_some_classes_are_enough(tmp_path: Path) -> None:
    path = tmp_path / "gold.csv"
    path.write_text("UID,Edema\n 7 , 1 \n")
    assert read_label_table(path).positives("7") == ["Edema"]


VALUES = st.sampled_from([1, 0, -1, None])


@given(
    st.dictionaries(
        st.text("abc123-", min_size=1), st.dictionaries(st.sampled_from(LABEL_COLUMNS), VALUES), min_size=1, max_size=5
    )
)
def test_a_table_reads_as_written(
    tmp_path_factory: pytest.TempPathFactory, rows: dict[str, dict[str, int | None]]
) -> None:
    path = tmp_path_factory.mktemp("labels") / "labels.csv"
    write_label_table(path, rows)
    assert read_label_table(path).rows == {
        report_id: tuple(values.get(name) for name in LABEL_COLUMNS) for report_id, values in rows.items()
    }
    assert path.read_text().splitlines()[0] == ",".join(["report_id", *FINDINGS, NO_FINDING])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("report_id,Edema\n", ": no rows"),
        ("report_id,Edema\n1,2\n", ":2: Edema is '2', expected 1, 0, -1 or blank"),
        ("report_id,Edema\n1,nan\n", ":2: Edema is 'nan', expected 1, 0, -1 or blank"),
        ("report_id,Edema\n1,0.5\n", ":2: Edema is '0.5', expected 1, 0, -1 or blank"),
        ("report_id,Edema\n1,positive\n", ":2: Edema is 'positive', expected 1, 0, -1 or blank"),
        ("report_id,Edema\n1,1\n1,0\n", ":3: report_id '1' stands twice"),
        ("report_id,Edema\n,1\n", ":2: empty report_id"),
        (
            "name,Edema\n1,1\n",
            ": no id column 'report_id' or 'study_id' or 'uid'; columns: name, Edema (id_column=...)",
        ),
        ("report_id,Edma\n1,1\n", ": unknown column 'Edma'; did you mean 'Edema'?"),
        ("report_id,No Finding\n1,1\n", ": none of the 13 label columns"),
        ("report_id,Edema\n1\n", ":2: 1 cells, expected 2"),
    ],
)
def test_bad_tables(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        read_label_table(path)
    assert str(caught.value) == f"{path}{message}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1,Secret effusion\n", ": no id column 'report_id' or 'study_id' or 'uid'; 2 columns; is the header missing?"),
        ("report_id,Small secret effusion on the left\n1,1\n", ": unknown column of 33 characters"),
        ("report_id,Edema\n1,small secret\n", ":2: Edema is a text of 12 characters, expected 1, 0, -1 or blank"),
        ("report_id,Edema\n1,secretsecretsecretsecret\n", ":2: Edema is a text of 24 characters"),
    ],
)
def test_a_report_among_the_labels_is_not_shown(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "labels.csv").write_text(content + "2,0\n")
    with pytest.raises(InputError) as caught:
        read_label_table(tmp_path / "labels.csv")
    assert str(caught.value).startswith(f"{tmp_path}/labels.csv{message}")
    assert "ecret" not in str(caught.value)
