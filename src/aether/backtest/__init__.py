"""Back-tests: a recording goes through the very same engine and paper venue that trade live on paper.

`runner` runs, `metrics` sums up, `tearsheet` draws, `results` keeps runs on disk under their id.
"""
