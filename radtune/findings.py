"""The 13 chest findings of the paper, for what does not read them from their task yet."""

FINDINGS: tuple[str, ...] = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Enlarged Cardiomediastinum",
    "Fracture",
    "Lung Lesion",
    "Lung Opacity",
    "Pleural Effusion",
    "Pleural Other",
    "Pneumonia",
    "Pneumothorax",
    "Support Devices",
)
NORMAL = "Normal"

_CANONICAL = {name.lower(): name for name in FINDINGS}


def canonical_finding(name: str) -> str | None:
    """The class that a name spells, case and outer blanks aside; None if it is not one of the 13."""
    return _CANONICAL.get(name.strip().lower())
