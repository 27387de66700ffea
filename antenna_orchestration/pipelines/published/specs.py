"""Descriptions of the ten published pipelines, with the slugs, names, algorithm keys and weights people already use.

A recipe names the checkpoints, their architectures and their input transforms; `published/pipeline.py` runs it. With a
recipe of your own you can run your own weights in the same architectures, see docs/howto/bring-your-own-model.md. A
table of the pipelines is in docs/reference/pipelines.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from antenna_orchestration.domain import score_vectors
from antenna_orchestration.pipelines.interface import AlgorithmSpec, PipelineSpec

Architecture = Literal["resnet50", "headless_resnet50", "convnext_tiny", "exported"]
"""The network of a classifier.

`resnet50` is torchvision's, whose weights have the same names as timm's. `headless_resnet50` has numbered layers and a
linear head without bias. `convnext_tiny` is timm's. `exported` is a program written by `torch.export`."""

Triple = tuple[float, float, float]
"""One number per channel: red, green, blue."""

IMAGENET_MEAN: Final[Triple] = (0.485, 0.456, 0.406)
IMAGENET_STD: Final[Triple] = (0.229, 0.224, 0.225)
HALVES: Final[Triple] = (0.5, 0.5, 0.5)

RANGES: Final = {"min_score": (0, 1)}

MEANINGS: Final = {
    "min_score": "Detections with this score or less are dropped.",
    score_vectors.SETTING: score_vectors.MEANING,
}

FACTORY: Final = "antenna_orchestration.pipelines.published.pipeline:PublishedPipeline"


@dataclass(frozen=True, kw_only=True, slots=True)
class Transform:
    """How a crop becomes a classifier's input: resized to `side` x `side` pixels, then `(value - mean) / std`.

    Values are in [0, 1] before they are normalised. The aspect ratio is not kept.
    """

    side: int
    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD


@dataclass(frozen=True, kw_only=True, slots=True)
class Classifier:
    """A classifier of crops. The algorithm's `uri` and `labels_uri` name its weights and labels."""

    algorithm: AlgorithmSpec
    architecture: Architecture
    transform: Transform


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """The steps of a pipeline. With `moth_filter` only moths are classified, without it every detection is."""

    detector: AlgorithmSpec
    moth_filter: Classifier | None
    classifier: Classifier


_MODELS: Final = "https://object-arbutus.cloud.computecanada.ca/ami-models"
_CLASSIFICATION: Final = f"{_MODELS}/moths/classification"

DETECTOR: Final = AlgorithmSpec(
    key="fasterrcnn_for_ami_moth_traps_2023",
    version="1",
    name="FasterRCNN for AMI Moth Traps 2023",
    task="localization",
    description="Faster R-CNN with a ResNet-50 FPN backbone; finds insects on the sheet, of one class.",
    uri=f"{_MODELS}/moths/localization/fasterrcnn_resnet50_fpn_tz53qv9v.pt",
)

MOTH_FILTER: Final = Classifier(
    algorithm=AlgorithmSpec(
        key="moth_nonmoth_classifier",
        version="1",
        name="Moth / Non-Moth Classifier",
        task="classification",
        description="Tells moths from all other insects.",
        uri=f"{_CLASSIFICATION}/moth-nonmoth_resnet50_20240417_b4fe3efe.pth",
        labels_uri=f"{_CLASSIFICATION}/05-moth-nonmoth_category_map.json",
    ),
    architecture="resnet50",
    transform=Transform(side=128),
)

MOTH: Final = "moth"
"""The moth filter's label for detections that go on to the classifier."""


def pipeline(
    slug: str,
    classifier: Classifier,
    *,
    moth_filter: Classifier | None = MOTH_FILTER,
    name: str = "",
    version: str = "1",
    description: str = "",
    min_score: float = 0.8,
) -> PipelineSpec:
    """A pipeline of the published detector, a moth filter (None for no filter) and a classifier.

    Name and description default to the classifier's.
    """
    recipe = Recipe(detector=DETECTOR, moth_filter=moth_filter, classifier=classifier)
    steps = (moth_filter, classifier) if moth_filter else (classifier,)
    return PipelineSpec(
        slug=slug,
        name=name or classifier.algorithm.name,
        version=version,
        description=description or classifier.algorithm.description,
        algorithms=(DETECTOR, *(step.algorithm for step in steps)),
        factory=FACTORY,
        recipe=recipe,
        default_config={"min_score": min_score, score_vectors.SETTING: score_vectors.AUTO},
        choices={score_vectors.SETTING: score_vectors.CHOICES},
        ranges=RANGES,
        meanings=MEANINGS
        | {"min_score": "Detections with this score or less are dropped; the detector itself gives none below 0.05."},
        takes_detections=True,
        batch_size=4,
    )


def _species(
    slug: str,
    name: str,
    key: str,
    description: str,
    *,
    weights: str,
    labels: str,
    architecture: Architecture = "resnet50",
    transform: Transform = Transform(side=128),
) -> PipelineSpec:
    algorithm = AlgorithmSpec(
        key=key,
        version="1",
        name=name,
        task="classification",
        description=description,
        uri=f"{_CLASSIFICATION}/{weights}",
        labels_uri=f"{_CLASSIFICATION}/{labels}",
    )
    return pipeline(slug, Classifier(algorithm=algorithm, architecture=architecture, transform=transform))


def _turing(slug: str, name: str, key: str, region: str, *, weights: str, labels: str) -> PipelineSpec:
    return _species(
        slug,
        name,
        key,
        f"Moth species of {region}.",
        weights=weights,
        labels=labels,
        architecture="headless_resnet50",
        transform=Transform(side=300, mean=HALVES, std=HALVES),
    )


PIPELINES: Final[Sequence[PipelineSpec]] = [
    _species(
        "panama_moths_2023",
        "Panama Species Classifier 2023",
        "panama_species_classifier_2023",
        "Moth species of Panama, 1,060 classes.",
        weights="panama_resetnet50_best_5aeb515a.pth",  # spelled so by those who published it
        labels="03_moths_centralAmerica_category_map-202311110-with-names.json",
    ),
    _species(
        "panama_moths_2024",
        "Panama Species Classifier - Apr 2024",
        "panama_species_classifier_apr_2024",
        "Moth species of Panama, 636 classes.",
        weights="panama_resnet50_baseline_20240417_edbb46dd.pth",
        labels="03_ami-gbif_fine-grained_c-america_category_map-with_names.json",
    ),
    _species(
        "quebec_vermont_moths_2023",
        "Quebec & Vermont Species Classifier - Apr 2024",
        "quebec_vermont_species_classifier_apr_2024",
        "Moth species of Quebec and Vermont, 2,497 classes.",
        weights="quebec-vermont_resnet50_baseline_20240417_950de764.pth",
        labels="01_ami-gbif_fine-grained_ne-america_category_map-with_names.json",
    ),
    _species(
        "uk_denmark_moths_2023",
        "UK & Denmark Species Classifier - Apr 2024",
        "uk_denmark_species_classifier_apr_2024",
        "Moth species of the United Kingdom and Denmark, 2,603 classes.",
        weights="uk-denmark_resnet50_baseline_20240417_55250a8b.pth",
        labels="02_ami-gbif_fine-grained_w-europe_category_map-with_names.json",
    ),
    _turing(
        "costa_rica_moths_turing_2024",
        "Turing Costa Rica Species Classifier",
        "turing_costa_rica_species_classifier",
        "Costa Rica",
        weights="turing-costarica_v03_resnet50_2024-06-04-16-17_state.pt",
        labels="03_costarica_data_category_map.json",
    ),
    _turing(
        "anguilla_moths_turing_2024",
        "Turing Anguilla Species Classifier",
        "turing_anguilla_species_classifier",
        "Anguilla",
        weights="turing-anguilla_v01_resnet50_2024-06-28-17-01_state.pt",
        labels="01_anguilla_data_category_map.json",
    ),
    _turing(
        "kenya-uganda_moths_turing_2024",
        "Turing Kenya and Uganda Species Classifier",
        "turing_kenya_and_uganda_species_classifier",
        "Kenya and Uganda",
        weights="turing-kenya-uganda_v01_resnet50_2024-11-19-18-44_state.pt",
        labels="01_kenya-uganda_data_category_map.json",
    ),
    _species(
        "global_moths_2024",
        "Global Species Classifier - Aug 2024",
        "global_species_classifier_aug_2024",
        "Moth species of the world, 29,176 classes.",
        weights="global_resnet50_20240828_b06d3b3a.pth",
        labels="global_category_map_with_names_20240828.json",
    ),
    pipeline("moth_binary", MOTH_FILTER, moth_filter=None),
    pipeline(
        "insect_orders_2025",
        Classifier(
            algorithm=AlgorithmSpec(
                key="insect_order_classifier",
                version="1",
                name="Insect Order Classifier",
                task="classification",
                description="Orders of insects, 16 classes.",
                uri=f"{_MODELS}/insect_orders/convnext_tiny_in22k_worder0.5_wbinary0.5_run2_checkpoint.pt",
                labels_uri=f"{_MODELS}/insect_orders/insect_order_category_map.json",
            ),
            architecture="convnext_tiny",
            transform=Transform(side=128),
        ),
        moth_filter=None,
    ),
]
