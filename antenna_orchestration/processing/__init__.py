"""The verbs: submit, publish, collect, finish, cancel, retry, reconcile, health. One module each."""
