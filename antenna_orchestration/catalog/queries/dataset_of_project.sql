SELECT dataset, dataset_by, dataset_at FROM projects WHERE slug = %(slug)s
