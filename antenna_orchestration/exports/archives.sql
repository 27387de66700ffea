-- What archives are made of, over the views of `Material.session`. Before it there are: the table `named`, what each
-- determination is; `usable`, the deployments that have a place; `ended`, when each job was over; `with_labels`,
-- photographs with their labels; `blanks`, labels for nothing; and the functions `public_path` and `media_type`.

-- A local time with its offset, which is its distance from the moment; in UTC where that is none that clocks have.
CREATE MACRO minutes_east(utc, local) AS (epoch_us(local) - epoch_us(utc)) // 60000000;
CREATE MACRO two_digits(number) AS lpad(number::VARCHAR, 2, '0');
CREATE MACRO with_offset(utc, local) AS
    CASE
        WHEN (epoch_us(local) - epoch_us(utc)) % 60000000 = 0 AND abs(minutes_east(utc, local)) <= 14 * 60
        THEN strftime(local, '%Y-%m-%dT%H:%M:%S') || CASE WHEN minutes_east(utc, local) < 0 THEN '-' ELSE '+' END
            || two_digits(abs(minutes_east(utc, local)) // 60) || ':' || two_digits(abs(minutes_east(utc, local)) % 60)
        ELSE strftime(utc::TIMESTAMP, '%Y-%m-%dT%H:%M:%SZ')
    END;

-- Of a box from a to b on a photograph of that size: whether something of it is inside, and as shares of the size where
-- it begins and how long it is. Clipped, and exact, so that no sum is above 1; also of a box outside, which nobody uses.
CREATE MACRO inside(a, b, size) AS isfinite(a) AND isfinite(b) AND least(b::DOUBLE, size) > greatest(a::DOUBLE, 0);
CREATE MACRO begins(a, size) AS least(greatest(a::DOUBLE, 0) / size, 0.999999)::DECIMAL(7, 6);
CREATE MACRO length(a, b, size) AS
    least(
        least(greatest((least(b::DOUBLE, size) - greatest(a::DOUBLE, 0)) / size, 0.000001), 1)::DECIMAL(7, 6),
        1.000000 - begins(a, size)
    );

-- Some detectors and classifiers give numbers that are not a probability.
CREATE MACRO chance(score) AS CASE WHEN isfinite(score) THEN least(greatest(score, 0::FLOAT), 1::FLOAT) END;

CREATE MACRO event_of(deployment, night) AS deployment || '_' || strftime(night, '%Y-%m-%d');

CREATE VIEW taken AS
SELECT
    *,
    event_of(deployment, night) AS event_id,
    with_offset(captured_at, local_time) AS moment,
    public_path(url) AS file_path,
    file_path LIKE 'http%://%' AS is_public,
    media_type(url) AS media_type
FROM with_labels
WHERE captured_at IS NOT NULL AND deployment IN (FROM usable);

-- What is said of photographs as a whole, if it names an animal, a person or a vehicle.
CREATE VIEW labelled AS
SELECT
    l.*,
    n.kind,
    n.scientific_name,
    ended
FROM (
    SELECT
        * EXCLUDE (labels, label_scores, label_algorithms),
        unnest(labels) AS label,
        unnest(label_scores) AS score,
        unnest(label_algorithms) AS algorithm,
        generate_subscripts(labels, 1) AS number
    FROM taken
) l JOIN named n ON n.taxon = l.label LEFT JOIN ended USING (job_id)
WHERE n.kind <> 'unknown' AND lower(label) NOT IN (FROM blanks);

CREATE VIEW seen AS
SELECT
    o.*,
    event_of(deployment, night) AS event_id,
    with_offset(captured_at, local_time) AS moment,
    -- Without a name: not looked at by a classifier, or not named by it.
    coalesce(n.kind, CASE WHEN classifier IS NULL THEN 'unclassified' ELSE 'unknown' END) AS kind,
    n.scientific_name,
    n.taxon_rank,
    CASE WHEN n.kind IS NOT NULL AND n.scientific_name IS NULL THEN o.taxon END AS remark,
    coalesce(source = 'human', false) AS is_human,
    CASE WHEN is_human THEN 'human' ELSE classifier || ' ' || classifier_version END AS said_by,
    CASE
        WHEN is_human THEN strftime(reviewed_at::TIMESTAMP, '%Y-%m-%dT%H:%M:%SZ') WHEN classifier IS NOT NULL THEN ended
    END AS said_at,
    CASE WHEN NOT is_human THEN chance(score) END AS probability,
    chance(detector_score) AS detection_score,
    coalesce(width > 0 AND height > 0, false) AS has_size,
    coalesce(has_size AND inside(x1, x2, width) AND inside(y1, y2, height), false) AS has_box,
    CASE WHEN has_box THEN begins(x1, width) END AS box_x,
    CASE WHEN has_box THEN begins(y1, height) END AS box_y,
    CASE WHEN has_box THEN length(x1, x2, width) END AS box_width,
    CASE WHEN has_box THEN length(y1, y2, height) END AS box_height
FROM observations o LEFT JOIN named n USING (taxon) LEFT JOIN ended USING (job_id)
WHERE counted AND captured_at IS NOT NULL AND deployment IN (FROM usable);

CREATE TABLE events AS
SELECT
    pipeline,
    deployment,
    night,
    any_value(event_id) AS event_id,
    arg_min(moment, captured_at) AS event_start,
    arg_max(moment, captured_at) AS event_end,
    count(*) AS photographs,
    count(*) FILTER (status = 'failed') AS failed
FROM taken
GROUP BY ALL
ORDER BY deployment, night;

CREATE TABLE occurrences AS
WITH animals AS (
    SELECT
        deployment, night, scientific_name, image_id, observation_id, track, is_human,
        -- What a person named, then the highest score; then what comes first, so that it stays the same.
        CASE WHEN is_human THEN '0' ELSE '1' END || printf('%.6f', 1 - coalesce(probability, 0)::DOUBLE)
            || observation_id AS place
    FROM seen
    WHERE kind = 'animal' AND scientific_name IS NOT NULL
),
on_one AS (
    SELECT deployment, night, scientific_name, image_id, count(*) AS number FROM animals GROUP BY ALL
),
most AS (
    SELECT deployment, night, scientific_name, max(number) AS max_n, count(*) AS on_photographs FROM on_one GROUP BY ALL
),
whole AS (
    SELECT
        deployment, night, scientific_name,
        count(*) AS found,
        count(*) FILTER (is_human) AS by_people,
        count(DISTINCT track) AS tracks,
        arg_min(observation_id, place) AS best
    FROM animals
    GROUP BY ALL
),
followed AS (SELECT deployment, night, bool_or(tracked) AS tracked FROM nights GROUP BY ALL)
SELECT
    whole.*,
    max_n,
    on_photographs,
    coalesce(tracked, false) AND tracks >= max_n AS from_tracks,
    CASE WHEN from_tracks THEN tracks ELSE max_n END AS individuals,
    -- How many there were, and of what, for people.
    CASE WHEN from_tracks THEN 'tracks in the night' ELSE 'largest number on one photograph' END
        || '; detections: ' || found || ', photographs with it: ' || on_photographs
        || CASE WHEN by_people > 0 THEN ', named by people: ' || by_people ELSE '' END AS basis
FROM whole JOIN most USING (deployment, night, scientific_name) LEFT JOIN followed USING (deployment, night)
ORDER BY deployment, night, scientific_name;

CREATE VIEW best_of_nights AS
SELECT
    o.*,
    e.* EXCLUDE (deployment, night),
    s.* EXCLUDE (pipeline, deployment, night, scientific_name, event_id),
    -- The same for ever, and in no other data set of ours.
    getvariable('owner') || ':' || e.pipeline || ':' || e.event_id || ':' || replace(o.scientific_name, ' ', '_') AS id
FROM occurrences o JOIN events e USING (deployment, night) JOIN seen s ON s.observation_id = o.best;
