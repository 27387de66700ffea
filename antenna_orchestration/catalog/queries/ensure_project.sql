-- Without touching a project that exists: a row locked by a long submission would hold up all others.
INSERT INTO projects (slug, name) VALUES (%(slug)s, %(slug)s) ON CONFLICT (slug) DO NOTHING
