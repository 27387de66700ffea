-- Until the end of the transaction, whoever else locks the project waits; what only refers to it does not.
SELECT project_id FROM projects WHERE project_id = %(project)s FOR NO KEY UPDATE
