"""Whether a report is about the chest: what its file says, its title, its organs."""

import pytest

from radtune.regions import modality_named, shows_chest, title_of
from radtune.report import Report, is_chest, report_from_text


@pytest.mark.parametrize(
    ("chest", "text", "body_part", "modality"),
    [
        (True, "Cardiomegaly.", None, None),
        (True, "", None, None),
        (True, "CT CHEST, ABDOMEN AND PELVIS: Hydronephrosis. Bladder stones. Pancreatic mass.", None, "CT"),
        (True, "Portable AP chest: Gallbladder clips. Splenic artery calcified.", None, None),
        (True, "Gas in the stomach and bowel, old humeral fracture. Lungs and heart normal.", None, None),
        (True, "Right upper quadrant clips. Small effusion.", "CHEST_PORT", "DX"),
        (True, "Renal stones. Prostatic calcification.", "Thorax", None),
        (True, "PET/CT SKULL BASE TO MID-THIGH: Avid adrenal and iliac nodes.", None, "PT"),
        (True, "Head: normal.\nChest: A node.\nAbdomen: Liver, pancreas, bladder, prostate normal.", None, None),
        (False, "A small effusion.", "KNEE", None),
        (False, "A small effusion. Lungs clear.", "TSPINE", "CR"),
        (False, "MRI THORACIC SPINE WITHOUT CONTRAST: edema of T7.", None, None),
        (False, "A mass.", None, "MG"),
        (False, "CT of the abdomen and pelvis with contrast.\nSmall pleural effusions, lung bases clear.", None, None),
        (False, "Ultrasound of the left leg: No mass.", None, None),
        (False, "Tear of the medial meniscus. Moderate effusion.", None, None),
        (False, "Lung bases are clear. Liver, pancreas and adrenals normal. Ovarian cyst.", None, None),
        (False, "Subdural collection with midline shift.", "", None),
    ],
)  # fmt: skip
def test_what_a_report_is_about(chest: bool, text: str, body_part: str | None, modality: str | None) -> None:
    assert shows_chest(text, body_part, modality) is chest
    report = Report("1", None, "", "", text, "test", modality=modality, body_part=body_part)
    assert is_chest(report) is chest


def test_a_title_is_made_of_its_words() -> None:
    assert title_of("  MRI of the left knee, without contrast: Tear.") == "MRI of the left knee, without contrast"
    assert title_of("Chest: clear.") == title_of("CT shows a mass in the abdomen.") == title_of("Knee pain.") == ""


@pytest.mark.parametrize(
    ("title", "modality"),
    [
        ("CT ABDOMEN AND PELVIS WITH CONTRAST", "CT"),
        ("CTA chest", "CT"),
        ("CT-Angiography of the legs", "CT"),
        ("PET/CT skull base to thigh", "PT"),
        ("MR arthrogram right hip", "MR"),
        ("MRI KNEE", "MR"),
        ("X-ray of the left wrist", "CR"),
        ("CHEST (PORTABLE AP)", "CR"),
        ("Ultrasound, left leg, two views", "US"),
        ("Bone scintigraphy", "NM"),
        ("Bilateral screening mammogram", "MG"),
        ("Left knee", None),
        ("Contact abroad", None),
    ],
)
def test_titles_say_how_images_were_made(title: str, modality: str | None) -> None:
    assert modality_named(title) == modality
    assert report_from_text("1", None, f"EXAM: {title}\nFINDINGS: Normal.", "test").modality == modality
