"""What people take home from jobs, and what they say of a project; verbs that are handed the stores as `Services`.

- what people say of a project: `deployments`, `names`, `reviews`, `recipes`, read together by `knowledge`;
- tables of it: `derive` for one set of results, `season` for a project's nights as they come, `agreement`;
- files for other programs: `export`, `html_report`, and `datasets` and `kept_downloads` of what was exported.

The rules themselves are pure functions of tables, in `ecology/`; the formats are in `exports/`.
"""
