"""What the published worker has under each name: addresses, keys, thresholds and transforms, written out by hand."""

from __future__ import annotations

from typing import Final

import pytest

from antenna_orchestration.pipelines.published import specs

_MODELS: Final = "https://object-arbutus.cloud.computecanada.ca/ami-models"
_IMAGENET: Final = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALVES: Final = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

FACTS: Final = {
    "panama_moths_2023": (
        "panama_species_classifier_2023", "resnet50", 128, _IMAGENET,
        "moths/classification/panama_resetnet50_best_5aeb515a.pth",
        "moths/classification/03_moths_centralAmerica_category_map-202311110-with-names.json",
    ),
    "panama_moths_2024": (
        "panama_species_classifier_apr_2024", "resnet50", 128, _IMAGENET,
        "moths/classification/panama_resnet50_baseline_20240417_edbb46dd.pth",
        "moths/classification/03_ami-gbif_fine-grained_c-america_category_map-with_names.json",
    ),
    "quebec_vermont_moths_2023": (
        "quebec_vermont_species_classifier_apr_2024", "resnet50", 128, _IMAGENET,
        "moths/classification/quebec-vermont_resnet50_baseline_20240417_950de764.pth",
        "moths/classification/01_ami-gbif_fine-grained_ne-america_category_map-with_names.json",
    ),
    "uk_denmark_moths_2023": (
        "uk_denmark_species_classifier_apr_2024", "resnet50", 128, _IMAGENET,
        "moths/classification/uk-denmark_resnet50_baseline_20240417_55250a8b.pth",
        "moths/classification/02_ami-gbif_fine-grained_w-europe_category_map-with_names.json",
    ),
    "costa_rica_moths_turing_2024": (
        "turing_costa_rica_species_classifier", "headless_resnet50", 300, _HALVES,
        "moths/classification/turing-costarica_v03_resnet50_2024-06-04-16-17_state.pt",
        "moths/classification/03_costarica_data_category_map.json",
    ),
    "anguilla_moths_turing_2024": (
        "turing_anguilla_species_classifier", "headless_resnet50", 300, _HALVES,
        "moths/classification/turing-anguilla_v01_resnet50_2024-06-28-17-01_state.pt",
        "moths/classification/01_anguilla_data_category_map.json",
    ),
    "kenya-uganda_moths_turing_2024": (
        "turing_kenya_and_uganda_species_classifier", "headless_resnet50", 300, _HALVES,
        "moths/classification/turing-kenya-uganda_v01_resnet50_2024-11-19-18-44_state.pt",
        "moths/classification/01_kenya-uganda_data_category_map.json",
    ),
    "global_moths_2024": (
        "global_species_classifier_aug_2024", "resnet50", 128, _IMAGENET,
        "moths/classification/global_resnet50_20240828_b06d3b3a.pth",
        "moths/classification/global_category_map_with_names_20240828.json",
    ),
    "moth_binary": (
        "moth_nonmoth_classifier", "resnet50", 128, _IMAGENET,
        "moths/classification/moth-nonmoth_resnet50_20240417_b4fe3efe.pth",
        "moths/classification/05-moth-nonmoth_category_map.json",
    ),
    "insect_orders_2025": (
        "insect_order_classifier", "convnext_tiny", 128, _IMAGENET,
        "insect_orders/convnext_tiny_in22k_worder0.5_wbinary0.5_run2_checkpoint.pt",
        "insect_orders/insect_order_category_map.json",
    ),
}  # fmt: skip
"""By slug: the terminal classifier's key, network, input side, mean and deviation, weights and labels."""


@pytest.mark.parametrize("spec", specs.PIPELINES, ids=lambda spec: spec.slug)
def test_a_published_pipeline_has_the_published_files_and_numbers(spec: specs.PipelineSpec) -> None:
    key, architecture, side, (mean, std), weights, labels = FACTS[spec.slug]
    assert isinstance(spec.recipe, specs.Recipe)
    classifier, detector = spec.recipe.classifier, spec.recipe.detector
    assert classifier.algorithm.key == key
    assert classifier.architecture == architecture
    assert classifier.transform == specs.Transform(side=side, mean=mean, std=std)
    assert classifier.algorithm.uri == f"{_MODELS}/{weights}"
    assert classifier.algorithm.labels_uri == f"{_MODELS}/{labels}"
    assert detector.key == "fasterrcnn_for_ami_moth_traps_2023"
    assert detector.uri == f"{_MODELS}/moths/localization/fasterrcnn_resnet50_fpn_tz53qv9v.pt"
    assert spec.default_config["min_score"] == 0.8
    # Two have no filter: one is the filter itself, one names all orders.
    unfiltered = {"moth_binary", "insect_orders_2025"}
    assert spec.recipe.moth_filter == (None if spec.slug in unfiltered else specs.MOTH_FILTER)


def test_the_facts_name_every_published_pipeline_in_its_order() -> None:
    assert [spec.slug for spec in specs.PIPELINES] == list(FACTS)
