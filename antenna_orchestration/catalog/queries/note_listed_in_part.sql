-- Of folders and lists, `listed_upto` only says that the look is not over: where it goes on, the process knows that is at it.
-- What does not answer for a while, and then does, has not failed.
UPDATE sources
SET next_look_at = now(),
    listed_upto = CASE WHEN uri LIKE 's3:%%' THEN listed_upto ELSE '' END,
    failures = CASE WHEN %(came_forward)s THEN 0 ELSE failures END,
    error = CASE WHEN %(came_forward)s AND failures > 0 THEN '' ELSE error END
WHERE source_id = %(source)s
