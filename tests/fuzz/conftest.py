"""`make fuzz` runs explore.py with atheris, which the tests do without."""

collect_ignore = ["explore.py"]
