-- The tables of a Darwin Core archive. Values have neither tabs nor line ends, as nothing encloses them.

CREATE MACRO plain(value) AS
    nullif(trim(regexp_replace(value::VARCHAR, '[\x00-\x1F\x7F\x{85}\x{2028}\x{2029}]+', ' ', 'g')), '');

CREATE VIEW dwca_occurrence AS
SELECT
    b.id AS "occurrenceID",
    'Image' AS "type",
    getvariable('license') AS "license",
    getvariable('rights_holder') AS "rightsHolder",
    getvariable('dataset_name') AS "datasetName",
    'MachineObservation' AS "basisOfRecord",
    'present' AS "occurrenceStatus",
    individuals AS "individualCount",
    basis AS "occurrenceRemarks",
    event_id AS "eventID",
    b.deployment AS "parentEventID",
    CASE WHEN event_start = event_end THEN event_start ELSE event_start || '/' || event_end END AS "eventDate",
    getvariable('sampling_protocol') AS "samplingProtocol",
    photographs || CASE photographs WHEN 1 THEN ' photograph' ELSE ' photographs' END AS "samplingEffort",
    p.locality,
    p.country AS "countryCode",
    p.latitude AS "decimalLatitude",
    p.longitude AS "decimalLongitude",
    'EPSG:4326' AS "geodeticDatum",
    p.uncertainty AS "coordinateUncertaintyInMeters",
    said_by AS "identifiedBy",
    said_at AS "dateIdentified",
    CASE
        WHEN is_human THEN 'identified by a person using recorded media'
        ELSE 'classified by a machine' || coalesce(' with ' || round(probability * 100)::INT || '% certainty', '')
    END AS "identificationRemarks",
    CASE WHEN is_human THEN 'verified using recorded media' ELSE 'unverified' END AS "identificationVerificationStatus",
    n.taxon_id AS "taxonID",
    b.scientific_name AS "scientificName",
    n.taxon_rank AS "taxonRank",
    n.kingdom,
    n.phylum,
    n.class,
    n."order",
    n.family,
    n.genus,
    n.vernacular AS "vernacularName"
FROM best_of_nights b JOIN places p USING (deployment) LEFT JOIN named n USING (taxon)
ORDER BY b.deployment, night, b.scientific_name;

-- The photograph that shows it best, with the box in it.
CREATE VIEW dwca_multimedia AS
SELECT
    b.id AS "coreid",
    best AS "identifier",
    'StillImage' AS "type",
    t.media_type AS "format",
    t.file_path AS "accessURI",
    b.moment AS "CreateDate",
    b.scientific_name AS "title",
    getvariable('boxes') AS "comments",
    box_x AS "xFrac",
    box_y AS "yFrac",
    box_width AS "widthFrac",
    box_height AS "heightFrac",
    b.width AS "PixelXDimension",
    b.height AS "PixelYDimension",
    getvariable('media_license') AS "UsageTerms",
    getvariable('rights_holder') AS "Owner"
FROM best_of_nights b JOIN taken t USING (image_id)
ORDER BY b.deployment, b.night, b.scientific_name;

CREATE VIEW dwca_measurement AS
SELECT id, deployment, night, scientific_name, m.*
FROM best_of_nights b, LATERAL (
    VALUES
        (1, 'classificationProbability', probability::VARCHAR, NULL, said_by),
        (2, 'detectionScore', detection_score::VARCHAR, NULL, detector || ' ' || detector_version),
        (3, 'length', length_mm::VARCHAR, 'mm', 'longer side of the box'),
        (4, 'detections', found::VARCHAR, NULL, 'all boxes of the taxon in the night'),
        (5, 'photographsWithTaxon', on_photographs::VARCHAR, NULL, 'photographs of the night that show it')
) m (number, kind, value, unit, method)
WHERE value IS NOT NULL;

CREATE VIEW dwca_measurementorfact AS
SELECT
    id AS "coreid",
    id || ':' || kind AS "measurementID",
    kind AS "measurementType",
    value AS "measurementValue",
    unit AS "measurementUnit",
    method AS "measurementMethod"
FROM dwca_measurement
ORDER BY deployment, night, scientific_name, number;
