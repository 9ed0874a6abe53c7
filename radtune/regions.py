"""Which region of the body a report is about: by what its file and its title say, else by the organs it names."""

import re
from functools import cache

# Words of exams' titles and of DICOM's body part examined. "Thoracic spine" is a spine.
_SPINE = r"(?:thoracic|dorsal|t)[ _-]*spine|tspine|thoracolumbar|abdominal[ _-]*aorta"
_CHEST = (
    r"chests?|thora(?:x|cic|cal)?|thorac\w*|lungs?|pulmonary|cxr\w*|ctpa|ribs?|stern(?:um|al)|hearts?|cardiac|coronary"
    r"|mediastin\w*|pleural?|whole[ _-]?body|torso|trunk|babygram|ttt"
)
_OTHER = (
    r"abd|abdom\w*|pelvi[sc]|kub|urogra\w*|enterogra\w*|colonogra\w*|liver|hepatic|hepatobiliary|renal|kidneys?"
    r"|gallbladder|biliary|mrcp|pancrea\w*|spleen|bowel|enema|colon|rectum|prostate|uter\w*|ovar\w*|scrot\w*|testic\w*"
    r"|bladder|obstetric\w*|f(?:o?)etal|knees?|hips?|femurs?|femoral|thigh|tibia\w*|fibula|tib|fib|ankles?|calcane\w*"
    r"|foot|feet|toes?|legs?|calf|extremit(?:y|ies)|arms?|hands?|fingers?|thumb|wrists?|elbows?|forearms?|humer\w+"
    r"|shoulders?|clavicles?|scapula\w*|skull|head|brain|crani\w*|face|facial|sinus(?:es)?|orbits?|neck|cervical"
    r"|[cl]?spine|lumbar|lumbosacral|sacr\w*|coccyx|spinal|carotids?|thyroid|parathyroid|breasts?|mammo\w*|tmj|mandib\w*"
    r"|maxill\w*|nasal|temporal|pituitary|iac|dvt|bone[ _-]*density|dexa|dxa|barium|o?esophag\w*|swallow\w*|ugi"
    r"|skeletal|bone[ _-]*age|scoliosis|hysterosalping\w*|venous|joints?|soft[ _-]tissues?|schulter|knie|h.fte"
    r"|becken|sch.del|wirbels.ule|hws|lws|bws|kopf|hals|mamma"
)
_SPLIT = r"(?<![^\W\d_])"  # CHEST_ABDOMEN and T2 are words, too
_END = r"(?![^\W\d_])"
_TITLE_CHEST = re.compile(rf"{_SPLIT}(?:{_CHEST}){_END}", re.IGNORECASE)
_TITLE_SPINE = re.compile(rf"{_SPLIT}(?:{_SPINE}){_END}", re.IGNORECASE)
_TITLE_OTHER = re.compile(rf"{_SPLIT}(?:{_OTHER}){_END}", re.IGNORECASE)
# What else stands in a title: how images are made, sides, views, contrast.
_HOW = (
    r"ct|cta|cat|hrct|mr|mri|mra|mrv|xr|cr|dx|dr|us|ultrasound|sonogra\w*|echo|doppler|duplex|fluoro\w*|pet|spect|nm"
    r"|scintigra\w*|angiogra\w*|radiogra\w*|x[ -]?rays?|films?|plain|scans?|imag\w+|exam\w*|study|studies|views?"
    r"|tomogra\w*|r.ntgen\w*|arthrogra\w*"
)
_FILLER = (
    r"pa|ap|lat|lateral|oblique|frontal|portable|upright|erect|supine|decubitus|bedside|mobile|single|one|two|three|four"
    r"|left|right|bilateral|both|l|r|rt|lt|lower|upper|of|the|and|with|without|w|wo|w/o|or|iv|oral|contrast|protocol|pe"
    r"|high|low|dose|resolution|screening|complete|limited|minimum|min|follow|up|repeat|routine|only|series|v|vw|vws"
    r"|material|enhanced|unenhanced|noncontrast|non|spiral|helical|axial|coronal|to|for|in|on|a|an|\d+"
)
_TITLE = re.compile(
    rf"\W*+(?:(?:{_CHEST}|{_SPINE}|{_OTHER}|{_HOW}|{_FILLER}){_END}[^\w\n:.]*+){{1,16}}+(?=[:.\n]|\Z)", re.IGNORECASE
)
_TITLE_HOW = re.compile(rf"{_SPLIT}(?:{_HOW}|views?|pa|ap){_END}", re.IGNORECASE)
# No image of the chest is made so.
_OTHER_MODALITIES = frozenset(("MG", "MAMMO", "DXA", "DEXA", "BMD", "PX", "IO", "OP", "OPT", "ES", "OCT"))

# What reports of the chest speak of; those of other regions rarely do.
_CHEST_ORGANS = re.compile(
    r"\b(?:lungs?|pulmonary|pleura|pleural|pneumothora\w+|cardiac|hearts?|cardio\w+|mediastin\w+|hil(?:a|ar|um)|chest"
    r"|costophrenic|(?:middle|upper|lower) lobes?|lingula\w*|air ?space|thora(?:x|cic)|ribs?|trachea\w*|bronch\w+"
    r"|peribronchial|perihilar|pneumonia|(?:hemi)?diaphragm\w*|atelecta\w+|interstitial|bibasilar|endotracheal)\b"
)
# Organs that reports of the chest name in passing, and others that they do not.
_NEIGHBOURS = re.compile(
    r"\b(?:liver|hepatic|spleen|splenic|gallbladder|cholecystectomy|stomach|gastric|bowel|colon|abdom\w+|kidneys?|renal|humer\w+"
    r"|shoulder|clavic\w+|breasts?|thyroid|adrenals?|lumbar|cervical|mesenter\w+|retroperiton\w+|nipples?|ultraso\w+|sonogra\w+)\b"
)
_ELSEWHERE = re.compile(
    r"\b(?:pancrea\w+|appendix|appendic\w+|colonic|sigmoid|rect(?:um|al)|cecum|ileum|jejun\w+|duoden\w+|duct dilatation"
    r"|biliary|bile ducts?|hydronephrosis|ureter\w*|bladder|prostat\w+|uter(?:us|ine)|endometri\w+|ovar(?:y|ies|ian)"
    r"|adnexa\w*|scrot\w+|testi\w+|epididym\w+|knees?|menisc\w+|cruciate|collateral ligament|patell\w+|suprapatellar"
    r"|popliteal|tibi\w+|fibul\w+|femor\w+|femur|acetabul\w+|hips?|trochanter\w*|ankles?|metatars\w+|calcane\w+|talus"
    r"|talar|plantar|achilles|wrists?|scaphoid|metacarp\w+|phalan\w+|elbows?|olecranon|rotator cuff|supraspinatus"
    r"|glenohumeral|subacromial|labrum|tendons?|loose bod(?:y|ies)|joint spaces?|joint effusion|bursitis|disc bulge"
    r"|dis[ck] (?:space|protrusion|herniation|height)|foramin\w+|spinal canal|canal stenosis|[cl]\d-[cls]?\d|conus"
    r"|intracranial|cerebr\w+|cerebell\w+|ventricles|sulci|gr[ae]y[- ]white|midline shift|frontal lobe|parietal"
    r"|temporal lobe|occipital|basal ganglia|subdural|subarachnoid|calvari\w+|mastoid\w*|maxillary|paranasal"
    r"|orbit(?:s|al)?|globes?|hoffa\w*|outer quadrant|inner quadrant|bi-?rads|parotid"
    r"|submandibular|tonsil\w*|epiglott\w+|nasopharyn\w+|carotid|thyroid (?:nodules?|lobe)|gestation\w*|f(?:o?)etal"
    r"|placent\w+|deep vein\w*|compressib\w+)\b"
)
# Half of these in a report too short for the chest to be its smaller part settle it, ten times faster than the rest.
_COMMON = ("lung", "heart", "cardi", "pleural", "pneumothora", "pulmonary")
_SHORT = 600


@cache
def title_shows_chest(title: str) -> bool | None:
    """Whether an exam's title, or a DICOM body part, names the chest; None where it names no region."""
    spineless = _TITLE_SPINE.sub(" ", title)
    if _TITLE_CHEST.search(spineless):
        return True
    return False if spineless != title or _TITLE_OTHER.search(title) else None


def title_of(text: str) -> str:
    """The exam's title that a text begins with, such as ``CT ABDOMEN`` or ``MRI of the left knee``; empty if none."""
    found = _TITLE.match(text)
    return found[0].strip() if found and _TITLE_HOW.search(found[0]) else ""


def shows_chest(text: str, body_part: str | None = None, modality: str | None = None) -> bool:
    """Whether a report is about the chest; where nothing tells, it is.

    What its file says of it comes first, then the title that it begins with, then the organs it names: other organs
    must be twice as many as the chest's, since a report of the chest names its neighbours.
    """
    if modality and modality.upper() in _OTHER_MODALITIES:
        return False
    for title in (body_part or "", title_of(text)):
        known = title_shows_chest(title) if title else None
        if known is not None:
            return known
    lower = text.lower()
    if len(lower) < _SHORT and sum(word in lower for word in _COMMON) >= len(_COMMON) / 2:
        return True
    elsewhere = 2 * len(set(_ELSEWHERE.findall(lower)))
    if not elsewhere and not _NEIGHBOURS.search(lower):
        return True
    elsewhere += len(set(_NEIGHBOURS.findall(lower)))
    return elsewhere < 2 or elsewhere <= 2 * len(set(_CHEST_ORGANS.findall(lower)))
