"""What is made from the types in ``overspill_api``, which themselves do no I/O: files of the repository."""
