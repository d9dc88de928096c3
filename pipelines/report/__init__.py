"""`awe report`: RUN/report.html, one file that says what came out of a run and opens offline.

`page` puts it together; every section is a module of its own with a function `content`, which reads the run and gives
what the template of the same name shows, or None where the run has nothing of it. Samples are read, never whole splits.
"""
