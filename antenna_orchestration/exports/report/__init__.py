"""The report: one HTML file about the results of a job or a project, for people. It needs no network and no script."""
