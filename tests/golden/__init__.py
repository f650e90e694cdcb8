"""Files of every format that cdesk keeps on disk, as one version wrote them, and their tests.

A set is a folder `1/`, `2/`, … made by `python -m tests.golden.make`:

- `data/` is a whole data folder: the log with its positions, its registered consumers and its
  damaged bytes, the tags, the settings, the state store, the list of imported events, the warehouse
  and a result. What is longer than 4 kB, mostly of zeros, is packed (`.gz`).
- `state/` holds the same rows in a store of each version that a `state.db` ever had.
- `schema/` is the migrations as each engine gets them, and the columns of every table and view.
- `templates/` is an operator's template.
- `content.json` says what was put in.

A set that a release wrote is never changed. When a format changes, the reader learns the new form
beside the old one, or a step leads from the old to the new; then a new set comes beside the others.
"""
