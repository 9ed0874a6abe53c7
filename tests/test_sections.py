"""Whole reports in the layouts of many houses: what is kept of them, what is dropped, and what they are of."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radtune.report import is_chest, report_from_sections, report_from_text
from radtune.sections import heading_kind, split_sections

# By layout: the report, its findings, its impression.
LAYOUTS = {
    "VA, with its codes": (
        "Exm Date: JAN 05, 1998@10:14\nReq Phys: DOE,JANE\n"
        "(Case 123 COMPLETE) CHEST 2 VIEWS PA&LAT  (RAD Detailed) CPT:71020\n    Reason for Study: r/o pneumonia\n\n"
        "  Clinical History:\n    60 yo with CHF and cough.\n\n"
        "  Report Status: Verified       Date Reported: JAN 05, 1998\n  Verifier E-Sig:/ES/JANE DOE, MD\n\n  Report:\n"
        "    The heart is enlarged. No effusion.\n\n  Impression:\n    Cardiomegaly.\n\n"
        "  Primary Diagnostic Code: MINOR ABNORMALITY\n\nPrimary Interpreting Staff:\n  JANE DOE, MD (Verifier)\n/JD",
        "The heart is enlarged. No effusion.", "Cardiomegaly.",
    ),
    "a narrative": (
        "NARRATIVE:\nXR CHEST 1 VIEW, 1/1/2000\nCLINICAL HISTORY: 40 years of age, Male, fever.\n"
        "COMPARISON: 12/30/1999.\nIMPRESSION:\n1. Right basilar opacity.\nEND OF IMPRESSION:\nSUMMARY: 2-ABNORMAL",
        "XR CHEST 1 VIEW, 1/1/2000", "1. Right basilar opacity.\n2-ABNORMAL",
    ),
    "views as the heading": (
        "HISTORY: Chest pain.\n\nCOMPARISON: None.\n\nPA AND LATERAL VIEWS OF THE CHEST:  There is a left effusion.\n\n"
        "IMPRESSION: Stable.",
        "There is a left effusion.", "Stable.",
    ),
    "one view, no impression": (
        "INDICATION: Line placement.\nPORTABLE CHEST: New PICC, tip in the SVC.",
        "New PICC, tip in the SVC.", "",
    ),
    "organs and impression": (
        "Indication: Dyspnea.\nLungs: Clear.\nPleura: No effusion.\nHeart: Enlarged.\nImpression: Cardiomegaly.",
        "Lungs: Clear.\nPleura: No effusion.\nHeart: Enlarged.", "Cardiomegaly.",
    ),
    "organs in one line": (
        "History: CHF. Lungs: Clear. Heart and mediastinum: Normal. Bones: Intact.",
        "Lungs: Clear. Heart and mediastinum: Normal. Bones: Intact.", "",
    ),
    "organs under findings": (
        "FINDINGS:\nLUNGS: Clear.\nLINES AND TUBES: None.\nIMPRESSION: Normal.",
        "LUNGS: Clear.\nLINES AND TUBES: None.", "Normal.",
    ),
    "organs under impression": (
        "Findings: As below.\nImpression:\nHeart: Large.\nLungs: Clear.",
        "As below.", "Heart: Large.\nLungs: Clear.",
    ),
    "capitals only": (
        "CHEST PA AND LATERAL\nHISTORY: R/O PNEUMONIA.\nTHE LUNGS ARE CLEAR. NO EFFUSION.\nIMPRESSION: NORMAL CHEST.",
        "THE LUNGS ARE CLEAR. NO EFFUSION.", "NORMAL CHEST.",
    ),
    "capitals, headings alone": (
        "CLINICAL INDICATION\nCOUGH\nFINDINGS\nSMALL EFFUSION\nCONCLUSION\nEFFUSION",
        "SMALL EFFUSION", "EFFUSION",
    ),
    "a numbered list": (
        "Reason for exam: trauma\nFINDINGS:\n1. Rib fracture.\n2. No pneumothorax.\nIMPRESSION:\n1) Rib fracture.\n"
        "2) See above.",
        "1. Rib fracture.\n2. No pneumothorax.", "1) Rib fracture.\n2) See above.",
    ),
    "numbered headings": (
        "1. Indication: Cough.\n2. Findings: Clear lungs.\n3. Impression: Normal.",
        "Clear lungs.", "Normal.",
    ),
    "Roman numerals": ("I. Indication: CHF.\nII. Findings: Clear.\nIII. Impression: Normal.", "Clear.", "Normal."),
    "an addendum with its author": (
        "FINDINGS: Clear.\nADDENDUM by Dr. X on 1/2: A nodule.\n\nD: 1/1/2001 T: 1/2/2001",
        "Clear.", "Addendum: A nodule.",
    ),
    "Markdown": ("**Exam:** CXR\n## Findings\n- Effusion\n\n## Impression\nEffusion.", "- Effusion", "Effusion."),
    "HL7": (
        "HISTORY: Pain~FINDINGS: Lungs clear~Heart large\\.br\\IMPRESSION: Cardiomegaly",
        "Lungs clear~Heart large", "Cardiomegaly",
    ),
    "an addendum below": (
        "FINDINGS: Clear.\nIMPRESSION: Normal.\n\nADDENDUM:\nThere is a 5 mm nodule.\n\n"
        "Electronically signed by: Jane Doe, MD",
        "Clear.", "Normal.\nAddendum: There is a 5 mm nodule.",
    ),
    "an addendum above": (
        "ADDENDUM #1: Fracture of rib 7.\n\nFINAL REPORT\nFINDINGS: Clear.\nIMPRESSION: Normal.",
        "Clear.", "Normal.\nAddendum: Fracture of rib 7.",
    ),
    "preliminary, then addendum": (
        "Preliminary report: Normal chest.\nAttending addendum: There is a nodule.",
        "", "Addendum: There is a nodule.",
    ),
    "as above": (
        "Chest x-ray of today. The lungs are clear.\nSmall left effusion.\nIMPRESSION: As above.",
        "Chest x-ray of today. The lungs are clear.\nSmall left effusion.", "As above.",
    ),
    "a paragraph without a heading": (
        "HISTORY: 60F with cough,\nfever and CHF.\n\nCOMPARISON: 1/2/2010\n\nSmall right effusion, new.\n\n"
        "IMPRESSION: Effusion.",
        "Small right effusion, new.", "Effusion.",
    ),
    "a second paragraph of history": ("HISTORY: Cough.\n\nAlso known lung cancer.\n\nFINDINGS: Clear.", "Clear.", ""),
    "technique within findings": (
        "FINDINGS:\nTechnique: AP portable.\nSmall effusion. Lungs otherwise clear.\nIMPRESSION: Effusion.",
        "Small effusion. Lungs otherwise clear.", "Effusion.",
    ),
    "technique in a line of findings": (
        "Findings: Clear lungs. Technique: Two views were obtained. The heart is large. Impression: Cardiomegaly.",
        "Clear lungs.\nThe heart is large.", "Cardiomegaly.",
    ),
    "a misspelt report": (
        "NDICATION: Pneumonia?\nCOMPARISION: Film with a large effusion.\nTECHNIUQE: AP.\nFIDNINGS: Clear.\n"
        "IMPRESSON: Normal.",
        "Clear.", "Normal.",
    ),
    "short names": (
        "EXAM: CHEST 2V\nHX: pneumonia last month\nCOMP: none\nFINDINGS:\nClear.\nIMP:\nNegative.",
        "Clear.", "Negative.",
    ),
    "emergency notes": ("PMH: CHF, lung cancer\nCC: dyspnea\nLungs clear.", "Lungs clear.", ""),
    "a request and a report": (
        "Clinical details: ?sarcoid, ?nodule. Report: Both lungs are clear.",
        "Both lungs are clear.", "",
    ),
    "a question and an answer": ("Clinical question: Pneumothorax? Answer: No pneumothorax.", "No pneumothorax.", ""),
    "a diagnosis at the end": ("FINDINGS: Consolidation.\nDIAGNOSIS: Pneumonia.", "Consolidation.", "Pneumonia."),
    "a diagnosis at the beginning": ("DIAGNOSIS: Heart failure.\nFINDINGS: Normal heart.", "Normal heart.", ""),
    "a comparison within the impression": (
        "COMPARISON: None.\n\nLines in place.\n\nIMPRESSION: Stable. Comparison: 1/2. There is no edema.\n"
        "Reported to prior\nresults: none.",
        "Lines in place.", "Stable.\nThere is no edema.\nReported to prior\nresults: none.",
    ),
    "its reader above it": (
        "Dictated by: Jane Doe, MD\nFindings are as follows: no effusion.", "Findings are as follows: no effusion.", "",
    ),
    "history only": ("INDICATION: Pneumonia?\nTECHNIQUE: PA.", "", ""),
    "gaps of de-identification": (
        "INDICATION: ___F with [**Hospital 3**].\nCOMPARISON: ___.\n\nXXXX are clear. Heart ___.\n\n"
        "IMPRESSION: ___ effusion.",
        "XXXX are clear. Heart ___.", "___ effusion.",
    ),
    "characters of a word processor": (
        "FINDINGS\xa0:\u2003No pneumo-\nthorax.\n\u200bIMPRESSION\uff1a Normal\u2026",
        "No pneumo-\nthorax.", "Normal\u2026",
    ),
    "HTML": (
        "<b>FINDINGS:</b>&nbsp;Clear.<br>Large heart.<br/><b>IMPRESSION:</b> Big heart.",
        "Clear.<br>Large heart.", "Big heart.",
    ),
    "German": (
        "Fragestellung: Pneumonie?\nBefund: Kein Erguss.\nBeurteilung: Unauffällig.",
        "Kein Erguss.", "Unauffällig.",
    ),
    "no colons, tab": ("FINDINGS\tClear lungs.\nIMPRESSION\tNormal.", "Clear lungs.", "Normal."),
    "dashes": ("Findings - clear lungs.\nImpression - normal.", "clear lungs.", "normal."),
    "Windows line ends": ("FINDINGS:\r\nClear lungs.\r\nIMPRESSION:\r\nNormal.\r\n", "Clear lungs.", "Normal."),
    "old Mac line ends": ("FINDINGS:\rClear lungs.\rIMPRESSION:\rNormal.\r", "Clear lungs.", "Normal."),
    "non-breaking indents": (
        "\xa0\xa0FINDINGS:\xa0Clear lungs.\n\xa0IMPRESSION:\xa0Normal.",
        "Clear lungs.", "Normal.",
    ),
    "underlined": ("FINDINGS\n--------\nClear lungs.\n\nIMPRESSION\n==========\nNormal.", "Clear lungs.", "Normal."),
    "starred": ("*** FINDINGS ***\nClear lungs.\n*** IMPRESSION ***\nNormal.", "Clear lungs.", "Normal."),
    "bracketed remark": ("FINDINGS (portable view): Clear lungs.\nIMPRESSION: Normal.", "Clear lungs.", "Normal."),
    "other words": ("OBSERVATIONS: Clear lungs.\nCONCLUSION: Normal.", "Clear lungs.", "Normal."),
    "more qualified": (
        "Chest x-ray findings:\nClear lungs.\nOverall impression:\nNormal.",
        "Clear lungs.", "Normal.",
    ),
    "the referrer's impression": (
        "CLINICAL IMPRESSION: Cough.\nFINDINGS: Clear lungs.\nIMPRESSION: Normal.",
        "Clear lungs.", "Normal.",
    ),
    "the referrer's impression inside a line": (
        "EXAM: Chest. CLINICAL IMPRESSION: Cough. FINDINGS: Clear lungs.",
        "Clear lungs.", "",
    ),
    "combined with a slash": ("FINDINGS/IMPRESSION:\n1. Clear lungs.", "1. Clear lungs.", ""),
    "impression with recommendation": ("IMPRESSION AND RECOMMENDATION(S): Normal. Repeat.", "", "Normal. Repeat."),
    "repeated": (
        "FINDINGS: Clear lungs.\nIMPRESSION: Normal.\nADDENDUM: Reviewed again.\nFINDINGS: Small nodule.",
        "Clear lungs.\nSmall nodule.", "Normal.\nAddendum: Reviewed again.",
    ),
    "an empty section": ("FINDINGS:\n\nIMPRESSION: Normal.", "", "Normal."),
    "a blanked section": ("FINDINGS: ___\nIMPRESSION: Normal.", "", "Normal."),
    "blanks that stand for words": ("FINDINGS: ___ catheter ends in the ___.", "___ catheter ends in the ___.", ""),
    "none": ("Portable view of the chest. Clear lungs.", "", ""),
    "sections that end the impression": (
        "IMPRESSION: Normal.\nRECOMMENDATION(S): None.\nNOTIFICATION: By phone.",
        "", "Normal.",
    ),
    "one line, capitals": (
        "EXAM: CHEST INDICATION: Cough COMPARISON: None FINDINGS: Clear lungs IMPRESSION: Normal",
        "Clear lungs", "Normal",
    ),
    "indented, as MIMIC-CXR": (
        "                                 FINAL REPORT\n EXAMINATION:  CHEST (PA AND LAT)\n \n"
        " INDICATION:  ___ year old with cough  // acute process?\n \n COMPARISON:  ___\n \n FINDINGS: \n \n"
        " The lungs are clear.\n No edema.\n \n IMPRESSION: \n \n No acute process.\n",
        "The lungs are clear.\n No edema.", "No acute process.",
    ),
    "prose below the history": (
        "CLINICAL DATA: FEVER.\n\nSINCE MONDAY A TUBE WAS PLACED. THERE IS\nA LEFT EFFUSION.\n\nIMPRESSION: EFFUSION.",
        "SINCE MONDAY A TUBE WAS PLACED. THERE IS\nA LEFT EFFUSION.", "EFFUSION.",
    ),
    "dictated without capitals": (
        "chest two views\nhistory cough\n\nthe heart is large\nthere is no edema\n\nimpression\nlarge heart",
        "the heart is large\nthere is no edema", "large heart",
    ),
    "films by their times": (
        "PORTABLE CHEST X 2\n\n05:20 - Left effusion.\n\n09:00 - Effusion drained.\n\nIMPRESSION: No residue.",
        "05:20 - Left effusion.\n\n09:00 - Effusion drained.", "No residue.",
    ),
    "question and answer": (
        "Question: Effusion?\n\nAnswer:\nSmall on the left.\n\nResult: small effusion.",
        "Small on the left.\nsmall effusion.", "",
    ),
    "today": (
        "Background: Pneumonia last year.\n\nToday: Clear lungs.\n\nCompared to: May.\n\nComment: Cleared.",
        "Clear lungs.", "Cleared.",
    ),
    "a table": (
        "CT RESULT\n\n| Part | Result |\n|---|---|\n| Lungs | Nodule |\n| Pleura | No fluid |\n\nConclusion: Nodule.",
        "| Lungs | Nodule |\n| Pleura | No fluid |", "Nodule.",
    ),
    "organs on lines of their own": (
        "Clinical question: cough\n\nParenchyma\nScattered opacities.\n\nPleura\nNo effusion.\n\nOpinion\nInfection.",
        "Parenchyma\nScattered opacities.\n\nPleura\nNo effusion.", "Infection.",
    ),
    "other findings beside those by organ": (
        "NODULES: 4 mm, left.\nOTHER LUNG FINDINGS: Emphysema.\nPLEURA: No effusion.\nIMPRESSION: Benign.",
        "NODULES: 4 mm, left.\nOTHER LUNG FINDINGS: Emphysema.\nPLEURA: No effusion.", "Benign.",
    ),
    "a read between rules": (
        "Hx: fall\n\n--- Read ---\nRib fractures.\nHemothorax.\n\n--- Critical result ---\nPhoned to the ward.",
        "Rib fractures.\nHemothorax.", "",
    ),
    "numbered sections": (
        "Section 1, indication: empyema\nSection 2, findings: Thick pleura.\nSection 3, conclusion: No effusion.",
        "Thick pleura.", "No effusion.",
    ),
    "an attestation that adds something": (
        "FINDINGS: Clear.\nIMPRESSION: Normal.\nATTESTATION: I agree, but there is also a nodule.",
        "Clear.", "Normal.\nAddendum: I agree, but there is also a nodule.",
    ),
    "an attestation": (
        "FINDINGS: Clear.\nIMPRESSION: Normal.\nATTESTATION: I have seen the images and agree.",
        "Clear.", "Normal.",
    ),
    "a wet read before": (
        " WET READ: ___ ___ 5:30 PM\n  Looks fine.\n ________________________________\n                 FINAL REPORT\n"
        " FINDINGS:  Clear lungs.\n",
        "Clear lungs.", "",
    ),
    "a sentence that opens with the word": (
        "FINDINGS: Opacity at the base.\nFindings suggest edema.\nImpression of a nodule on the left.",
        "Opacity at the base.\nFindings suggest edema.\nImpression of a nodule on the left.", "",
    ),
    "a sentence wrapped at the word": (
        "FINDINGS: Unchanged from the prior\n exam: small effusion, no other acute\n findings\n are seen.",
        "Unchanged from the prior\n exam: small effusion, no other acute\n findings\n are seen.", "",
    ),
    "the word inside a sentence": ("FINDINGS: No acute findings: clear.", "No acute findings: clear.", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(name: str) -> None:
    text, findings, impression = LAYOUTS[name]
    found = split_sections(text)
    assert (found.findings, found.impression) == (findings, impression)
    again = split_sections(report_from_text("1", None, text, "test").text)
    assert (again.findings.split(), again.impression.split()) == (findings.split(), impression.split())


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("findings", "FINDINGS, Finding(s), Chest Findings, OBSERVATION, Findings/Impression, FINDNGS, REPORT TEXT"),
        ("impression", "IMPRESSION, Impressions, IMPRESSON, IMPESSION, Imp, CONCLUSION(S), Impression and plan"),
        ("history", "HISTORY, HISOTRY, Clinical Hx, NDICATION, Reason for referral, HPI, PMH, Dx, CC"),
        ("history", "Clinical Findings, Chief complaint, History of present illness, CLINICAL INFORMATION"),
        ("comparison", "COMPARISON, COMPARISION, COMPARISON STUDY, Prior exam, COMP, Comparisons"),
        ("technique", "TECHNIQUE, Technqiue, CT Technique, Views"),
        ("organ", "Lungs, HEART AND MEDIASTINUM, Pleura/pleural spaces, Lines and tubes, Pneumothorax, Chest"),
        ("view", "PA AND LATERAL VIEWS OF THE CHEST, AP chest, Portable chest radiograph, CT ABDOMEN, CHEST 2 VIEWS"),
        (None, "MEDICATED, Note well, HISTOLOGY, Blood, IMPRESSED, Final thoughts"),
    ],
)  # fmt: skip
def test_headings_are_known_by_their_words(kind: str | None, names: str) -> None:
    for name in names.split(", "):
        assert heading_kind(name) == kind, name


def test_headings_without_a_kind_are_told_from_sentences() -> None:
    found = split_sections(
        "CASE NOTES: x\nFINDINGS: Clear: none.\nLungs: ok\nFollowing is seen today in it: x\nTUBES - none"
    )
    assert found.headings == ("CASE NOTES", "FINDINGS", "LUNGS", "TUBES")


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ("CHEST", "EXAM: CHEST (PA AND LAT)\nFINDINGS: Clear."),
        ("CHEST", LAYOUTS["VA, with its codes"][0]),
        ("ABDOMEN", "EXAMINATION: CT of the abdomen\nFINDINGS: Lung bases clear, heart normal, small effusion."),
        ("KNEE", "MRI KNEE WITHOUT CONTRAST\nIMPRESSION: Moderate effusion."),
        ("HEAD", "CT HEAD: No mass.\nIMPRESSION: No edema."),
        (None, "FINDINGS: Clear."),
    ],
)
def test_the_title_tells_the_region(part: str | None, text: str) -> None:
    report = report_from_text("1", None, text, "test")
    assert report.body_part == part
    assert is_chest(report) is (part in ("CHEST", None))


_PIECES = [
    "FINDINGS", "Findings", "findings", "IMPRESSION:", "Impression", "AND", "/", ":", "-", "\n", " ", "\t", "\r\n",
    "Comparison:", "FINAL REPORT", "clear.", "___", "____________", "**", "(", ")", "exam", "\n\n", "Chest ",
]  # fmt: skip


@given(st.text(max_size=300) | st.lists(st.sampled_from(_PIECES), max_size=40).map("".join))
def test_sections_are_pieces_of_the_report(body: str) -> None:
    whole = "".join(body.split())
    found = split_sections(body)
    for section in (found.findings, found.impression):
        assert section == section.strip()
        for line in section.splitlines():
            assert "".join(line.split()) in whole


WORDS = st.lists(st.sampled_from(["lungs", "are", "clear.", "No", "effusion,", "edema."]), min_size=1, max_size=12)


@given(WORDS.map(" ".join), WORDS.map(" ".join))
def test_a_prepared_text_splits_into_its_sections(findings: str, impression: str) -> None:
    report = report_from_sections("1", None, findings, impression, "test")
    found = split_sections(report.text)
    assert (found.findings, found.impression) == (findings, impression)
    assert report_from_text("1", None, report.text, "test") == report


ODD = [
    " " * 1_000_000, "\n" * 500_000, "FINDINGS" + " " * 1_000_000 + "x", " FINDINGS:" * 50_000, "FINDINGS:\n" * 50_000,
    "CHEST " * 160_000, "FINDINGS AND " * 80_000, "#*_=" * 250_000, ("\n" + " " * 60 + "IMPRESSION") * 14_000,
    "FINDINGS (" * 100_000, "x" * 1_000_000,
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: repr(odd[:13]))
def test_odd_megabytes_take_linear_time(odd: str) -> None:
    started = time.process_time()
    split_sections(odd)
    # Measured 0.7 s at most; one quadratic pattern would take hours.
    assert time.process_time() - started < 10
