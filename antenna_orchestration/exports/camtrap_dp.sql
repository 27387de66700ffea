-- The tables of a package; its columns that are not here stay empty.

CREATE VIEW media AS
SELECT
    image_id AS "mediaID",
    deployment AS "deploymentID",
    getvariable('capture_method') AS "captureMethod",
    moment AS "timestamp",
    file_path AS "filePath",
    is_public AS "filePublic",
    regexp_extract(file_path, '([^/?#]*)([?#].*)?$', 1) AS "fileName",
    media_type AS "fileMediatype",
    CASE
        WHEN status = 'failed' THEN 'not processed: ' || coalesce(reason, 'failed')
        WHEN labels IS NOT NULL THEN 'labels: ' || array_to_string(
            list_transform(
                list_zip(labels, label_scores), lambda one: one[1] || coalesce(printf(' %.2f', one[2]::DOUBLE), '')
            ),
            ', '
        )
    END AS "mediaComments"
FROM taken;

CREATE VIEW of_photographs AS
SELECT
    observation_id AS "observationID",
    deployment AS "deploymentID",
    image_id AS "mediaID",
    event_id AS "eventID",
    moment AS "eventStart",
    moment AS "eventEnd",
    'media' AS "observationLevel",
    kind AS "observationType",
    scientific_name AS "scientificName",
    1 AS "count",
    box_x AS "bboxX",
    box_y AS "bboxY",
    box_width AS "bboxWidth",
    box_height AS "bboxHeight",
    CASE WHEN is_human THEN 'human' WHEN classifier IS NOT NULL THEN 'machine' END AS "classificationMethod",
    said_by AS "classifiedBy",
    said_at AS "classificationTimestamp",
    probability AS "classificationProbability",
    concat_ws(
        ' | ',
        'detector:' || replace(detector || ' ' || detector_version, '|', '/'),
        'detectionScore:' || detection_score,
        'track:' || track
    ) AS "observationTags",
    'label: ' || remark AS "observationComments"
FROM seen;

-- What the pipeline says of a photograph as a whole: there is one, and nobody counted how many.
CREATE VIEW of_whole_photographs AS
SELECT
    job_id || '-' || image_id || '-label-' || number AS "observationID",
    deployment AS "deploymentID",
    image_id AS "mediaID",
    event_id AS "eventID",
    moment AS "eventStart",
    moment AS "eventEnd",
    'media' AS "observationLevel",
    kind AS "observationType",
    scientific_name AS "scientificName",
    'machine' AS "classificationMethod",
    algorithm AS "classifiedBy",
    ended AS "classificationTimestamp",
    chance(score) AS "classificationProbability",
    'label of the whole photograph: ' || label AS "observationComments"
FROM labelled;

-- With nothing on them; and those that failed, of which nothing is known.
CREATE VIEW of_other_photographs AS
SELECT
    job_id || '-' || image_id || CASE status WHEN 'failed' THEN '-failed' ELSE '-blank' END AS "observationID",
    deployment AS "deploymentID",
    image_id AS "mediaID",
    event_id AS "eventID",
    moment AS "eventStart",
    moment AS "eventEnd",
    'media' AS "observationLevel",
    CASE status WHEN 'failed' THEN 'unclassified' ELSE 'blank' END AS "observationType",
    CASE WHEN status <> 'failed' THEN 'machine' END AS "classificationMethod",
    CASE
        WHEN status = 'failed' THEN 'not processed: ' || coalesce(reason, 'failed')
        WHEN detections > 0 THEN 'boxes that do not count: ' || detections
    END AS "observationComments"
FROM taken ANTI JOIN (SELECT image_id FROM seen UNION SELECT image_id FROM labelled) USING (image_id);

CREATE VIEW of_nights AS
SELECT
    id AS "observationID",
    deployment AS "deploymentID",
    event_id AS "eventID",
    event_start AS "eventStart",
    event_end AS "eventEnd",
    'event' AS "observationLevel",
    'animal' AS "observationType",
    scientific_name AS "scientificName",
    individuals AS "count",
    CASE WHEN is_human THEN 'human' ELSE 'machine' END AS "classificationMethod",
    said_by AS "classifiedBy",
    said_at AS "classificationTimestamp",
    probability AS "classificationProbability",
    basis AS "observationComments"
FROM best_of_nights
ORDER BY deployment, night, scientific_name;

CREATE VIEW of_empty_nights AS
SELECT
    getvariable('owner') || ':' || pipeline || ':' || event_id || ':blank' AS "observationID",
    deployment AS "deploymentID",
    event_id AS "eventID",
    event_start AS "eventStart",
    event_end AS "eventEnd",
    'event' AS "observationLevel",
    'blank' AS "observationType",
    'machine' AS "classificationMethod",
    'photographs: ' || (photographs - failed) AS "observationComments"
FROM events ANTI JOIN (SELECT event_id FROM seen UNION SELECT event_id FROM labelled) USING (event_id)
WHERE photographs > failed;

CREATE VIEW package_observations AS
FROM of_photographs
UNION ALL BY NAME FROM of_whole_photographs
UNION ALL BY NAME FROM of_other_photographs
UNION ALL BY NAME FROM of_nights
UNION ALL BY NAME FROM of_empty_nights;
