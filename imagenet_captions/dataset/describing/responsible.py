"""The part of `croissant.json` about origin, use and limits: the minimal fields that NeurIPS asks for since 2026.

Every number is one that was counted while the dataset was written.
"""

from __future__ import annotations

from typing import Any

from imagenet_captions.dataset.describing.facts import UNKNOWN_LANGUAGE, DatasetFacts
from imagenet_captions.outcomes import Outcome, share

TERMS = "https://www.image-net.org/download.php"
_ORIGINS = {
    "flickr": ("https://www.flickr.com/", "Flickr's answers about the photos"),
    "release": ("https://github.com/mlfoundations/imagenet-captions", "the published ImageNet-Captions"),
    "yfcc100m": ("https://arxiv.org/abs/1503.01817", "the metadata of YFCC100M, of 2014"),
}
_RIGHTS = (
    "Texts and photos belong to the people who made them. `license` is the number of the license that Flickr stated "
    "when it was asked about the photo, and null without an answer."
)
_IMAGES = "The images are under ImageNet's terms of access: non-commercial research and education."
_MOST_SHOWN = 5


def usage_info(facts: DatasetFacts) -> dict[str, Any]:
    """Return the license of a dataset and the conditions of its use."""
    conditions = {"@type": "sc:CreativeWork", "name": "Conditions of use", "description": _RIGHTS}
    if facts.images is not None:
        conditions |= {"description": f"{_RIGHTS} {_IMAGES}", "url": TERMS}
    return {"license": _RIGHTS if facts.images is None else [_RIGHTS, TERMS], "usageInfo": conditions}


def provenance(facts: DatasetFacts) -> dict[str, Any]:
    """Return what a dataset was derived from, when the texts were retrieved, and what made it."""
    derived = [_entity("https://www.image-net.org/", f"{facts.origin}: images, labels and ids")]
    derived += [_entity(*_ORIGINS[name]) for name in sorted(facts.sources) if name in _ORIGINS]
    derived += [_entity(f"urn:sha256:{digest}", f"input {role}") for role, digest in sorted(facts.inputs.items())]
    made_with = " and ".join(f"{name} {version}" for name, version in sorted(facts.made_with.items()))
    activities = [{"@type": "prov:Activity", "prov:label": f"cleaned and packaged with {made_with}"}]
    if facts.settings.get("filter"):
        activities.append({"@type": "prov:Activity", "prov:label": "filtered; manifest.json has the conditions"})
    if facts.retrieved:
        first, last = facts.retrieved
        asked = {"@type": "prov:Activity", "prov:label": "retrieved from Flickr's API"}
        activities.insert(0, {**asked, "prov:startedAtTime": first, "prov:endedAtTime": last})
    return {
        "prov:wasDerivedFrom": derived,
        "prov:wasGeneratedBy": activities,
        "prov:wasAttributedTo": {"@type": "prov:Agent", "prov:label": "the photographers of the images"},
    }


def _entity(address: str, label: str) -> dict[str, str]:
    return {"@id": address, "@type": "prov:Entity", "prov:label": label}


def responsible_use(facts: DatasetFacts) -> dict[str, Any]:
    """Return the fields of the extension for responsible AI."""
    found: dict[str, Any] = {
        "rai:dataCollection": "Photographers wrote the texts for Flickr, not for this dataset; ImageNet's annotators "
        "chose the images and gave them classes.",
        "rai:dataCollectionMissingData": _missing(facts),
        "rai:dataLimitations": _limitations(facts),
        "rai:dataBiases": _biases(facts),
        "rai:personalSensitiveInformation": "Texts may name people and places. `owner`, `owner_name` and `photo_page` "
        "name the photographer, as attribution requires. Photos may show people.",
        "rai:dataUseCases": "Training and testing models of images and text, and measuring how data affects their "
        "robustness. Not for finding out about the people who are named or shown.",
        "rai:dataSocialImpact": "Research on how training data affects robustness needs texts with a known origin. "
        "Models trained on them repeat the biases above.",
        "rai:hasSyntheticData": False,
        "rai:dataReleaseMaintenancePlan": "Everyone who holds a copy must remove a photo's text and image within "
        "24 hours of the owner's request; `imagenet-captions` has a denylist for this.",
    }
    if facts.retrieved:
        found["rai:dataCollectionTimeFrame"] = list(facts.retrieved)
    return found


def _missing(facts: DatasetFacts) -> str:
    total = sum(facts.funnel.values())
    others = [(outcome, count) for outcome, count in facts.funnel.items() if outcome is not Outcome.KEPT]
    lost = [f"{count:,} {outcome.value} ({outcome.meaning})" for outcome, count in others]
    return f"{facts.rows:,} of {total:,} inputs are in the dataset. Of the others: {'; '.join(lost) or 'none'}."


def _limitations(facts: DatasetFacts) -> list[str]:
    names = [("title", "a title"), ("description", "a description"), ("tags", "tags"), ("license", "a known license")]
    have = [f"{share(facts.filled.get(name, 0), facts.rows)} {words}" for name, words in names]
    found = [f"Of the rows, {', '.join(have)}."]
    if facts.images is not None and facts.images < facts.rows:
        found.append(f"{facts.rows - facts.images:,} rows have no image.")
    if "names_class" in facts.filled:
        named = share(facts.filled["names_class"], facts.rows)
        found.append(f"Texts say what a photographer chose to say: {named} of them name the class of their image.")
        found.append(f"{share(facts.repeated, facts.rows)} of the rows have a caption that another row has too.")
    if years := facts.measured.get("survival", {}).get("years"):
        have, asked = (sum(count[at] for count in years.values()) for at in (0, 1))
        found.append(f"Of {asked:,} listed photos that Flickr was asked about, {share(have, asked)} answered.")
    return found


def _biases(facts: DatasetFacts) -> list[str]:
    found = ["The photographers are people who shared photos on Flickr before 2012, in the languages that they speak."]
    if facts.languages:
        known = {code: count for code, count in facts.languages.items() if code != UNKNOWN_LANGUAGE}
        common = sorted(known.items(), key=lambda item: (-item[1], item[0]))[:_MOST_SHOWN]
        told = ", ".join(f"{code} {share(count, facts.rows)}" for code, count in common)
        found.append(f"Most frequent languages: {told or 'none was detected'}.")
    if facts.classes:
        most, least = max(facts.classes.values()), min(facts.classes.values())
        found.append(f"Classes differ in size: the largest has {most:,} rows, the smallest {least:,}.")
    return found
