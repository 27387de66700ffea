-- Seconds of work on an image, as its worker reported them.
ALTER TABLE job_images ADD COLUMN seconds real;
