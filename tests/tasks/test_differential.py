"""The vocabulary of the differential task: every class whole, every code a diagnosis that fits its family."""

from collections import Counter

import yaml

from radtune.labels import State
from radtune.tasks import load_task
from radtune.tasks.codes import check_code
from radtune.tasks.task import TASKS_DIR

FILE = yaml.safe_load((TASKS_DIR / "differential.yaml").read_text(encoding="utf-8"))
CLASSES = FILE["classes"]
# By family, the chapters of ICD-10-CM that its codes may stand in: injuries S and T, musculoskeletal M, tumors C and D,
# malformations Q, nerves and cord G, skin L, findings R.
CHAPTERS = {
    "Fracture": "SM", "Dislocation": "S", "Arthropathy": "M", "Ligament, meniscus and labrum": "S",
    "Tendon and muscle": "SM", "Soft tissue": "MG", "Infection": "ML", "Marrow and metabolic bone": "MRT",
    "Tumor": "CDM", "Spine": "MG", "Development and deformity": "MQ", "Joint replacement": "MT",
}  # fmt: skip


def test_every_class_is_whole_and_its_code_a_diagnosis_of_its_family():
    for entry in CLASSES:
        assert set(entry) == {"name", "parent", "icd10", "synonyms", "definition"}
        assert entry["parent"] in FILE["families"]
        assert entry["synonyms"]
        assert 5 < len(entry["definition"]) < 100
        code = check_code(entry["icd10"])
        assert (code.code, code.is_leaf) == (entry["icd10"], True)
        assert code.code[0] in CHAPTERS[entry["parent"]]


def test_there_are_133_in_families_that_all_have_some():
    task = load_task("differential")
    assert len(task.classes) == 133
    assert Counter(task.parents.values()).keys() == set(FILE["families"]) == CHAPTERS.keys()
    assert min(Counter(task.parents.values()).values()) >= 3
    assert list(task.parents.values()) == sorted(task.parents.values(), key=FILE["families"].index)


def test_what_is_considered_counts_and_the_impression_alone_is_read():
    task = load_task("differential")
    states = {"Gout": State.UNCERTAIN, "Septic arthritis": State.PRESENT, "Osteomyelitis": State.ABSENT}
    assert task.labels_of(states) == ("Gout", "Septic arthritis")
    assert task.sections == ("impression",)
    assert task.read(task.encode([])).labels == ()
