"""What the columns of the tables mean, for people: the UI shows it, and a page of the documentation."""

from __future__ import annotations

from typing import Final

_OF_JOB: Final = {
    "project": "project of the job that the row is from",
    "job_name": "name of that job",
    "pipeline": "slug of its pipeline",
    "pipeline_version": "version of the pipeline that processed the image: a retry may raise it; null for earlier jobs",
}

MEANINGS: Final = {
    "manifest": {
        "image_id": "the capture",
        "ordinal": "position in the job, from 1; tasks are published in this order",
        "url": "`file://`, `s3://` or `http(s)://`, as tasks carry it",
        "deployment": "name of the deployment; null if none was given",
        "captured_at": "when the photograph was taken; null if unknown. A moment where the file or the deployment says "
        "the time zone; else the camera's digits, taken as UTC",
        "stamp": "the digits that the file's name, its EXIF data or the list has, without a zone; null if there are "
        "none, and for jobs of earlier versions",
        "stamp_offset": "how many minutes east of UTC these digits are, if the file or the list says so; else null",
        **_OF_JOB,
    },
    "captures": {
        "image_id": "the capture",
        "url": "`file://`, `s3://` or `http(s)://`, as tasks carry it",
        "deployment": "name of the deployment; null if none was given",
        "captured_at": "when the photograph was taken; null if unknown. A moment where the file or the deployment says "
        "the time zone; else the camera's digits, taken as UTC",
        "width": "pixels as decoded; null if the image failed or the pipeline did not decode it",
        "height": "likewise, from top to bottom",
        "status": "`done` or `failed`",
        "detections": "how many sightings were found; an image without any is a row with 0",
        "seconds": "work on the image as the worker reports it: decoding, inference and what follows; null if it "
        "reports none",
        "finished_at": "when the collector committed the outcome: among several results of an image, the latest is the "
        "newest",
        "night": "the night of the photograph: from noon to noon in the deployment's time zone, or the job's where "
        "that is not known, named for the day on which it begins; null if `captured_at` is",
        "stamp": "the digits that the file's name, its EXIF data or the list has, without a zone; null if there are "
        "none, and for jobs of earlier versions",
        "stamp_offset": "how many minutes east of UTC these digits are, if the file or the list says so; else null",
        **_OF_JOB,
    },
    "detections": {
        "image_id": "the capture",
        "detection_id": "one sighting; unique within the job",
        "x1": "left edge, in pixels of the image as decoded: origin top left, EXIF rotation not applied",
        "y1": "upper edge",
        "x2": "right edge",
        "y2": "lower edge",
        "score": "the detector's score; null if it gives none, as workers that speak HTTP mostly do",
        "algorithm": "key of the detector",
        "algorithm_version": "its version",
        "worker": "name of the worker that found it",
        "created_at": "when the worker made the result",
        "inference_time": "seconds, as a worker behind the gateway reports them; null if it does not",
        **_OF_JOB,
    },
    "classifications": {
        "image_id": "the capture",
        "detection_id": "the detection that this says something about",
        "algorithm": "key of the classifier",
        "algorithm_version": "its version",
        "label": "the best class",
        "score": "its probability; null if the classifier gives none",
        "top_labels": "the best classes, best first; at most `ANTENNA_TOP_K` of the worker",
        "top_scores": "their scores, in the same order",
        "terminal": "false for an intermediate step, such as a filter before the classifier",
        "created_at": "when the worker made the result",
        "scores": "the scores of all classes, little-endian float16 in the order of the algorithm's labels, less than "
        "3e-8 being 0; null for classifiers of more than 1,000 classes unless the job asks for it (`scores`)",
        "inference_time": "seconds, as a worker behind the gateway reports them; null if it does not",
        **_OF_JOB,
    },
    "failed_images": {
        "image_id": "the capture",
        "url": "`file://`, `s3://` or `http(s)://`, as tasks carry it",
        "reason": "why, in words",
        "attempts": "deliveries of the task until the failure was published",
        "failed_at": "when the collector committed it",
        **_OF_JOB,
    },
}
"""Of each table, its columns in order."""

FURTHER: Final = {
    "detection_details": {
        "image_id": "the capture",
        "detection_id": "the detection that this says more of",
        "mask": "which pixels belong to it: COCO's run-length encoding as JSON, "
        '`{"size": [height, width], "counts": …}`, which `pycocotools.mask.decode` takes; null if the pipeline gives '
        "none, as are all that follow",
        "rotated_cx": "the box as the model turned it: its centre, in pixels of the image as decoded",
        "rotated_cy": "likewise, from the upper edge",
        "rotated_width": "its sides before it is turned about the centre",
        "rotated_height": "likewise",
        "rotated_angle": "degrees clockwise, as the image is seen",
        "attributes": 'what else the pipeline says of it, as JSON, such as `{"wing_length_mm": 17.5}`',
        **_OF_JOB,
    },
    "image_labels": {name: meaning for name, meaning in MEANINGS["classifications"].items() if name != "detection_id"},
    "image_attributes": {
        "image_id": "the capture",
        "attributes": "what else the pipeline says of the image as a whole, as JSON",
        **_OF_JOB,
    },
}
"""The same of the tables that a job has only if its pipeline says more than boxes and what is in them."""
