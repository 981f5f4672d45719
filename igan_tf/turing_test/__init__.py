"""The visual Turing test: people in a browser telling real from generated images (arXiv:1606.03498, section 6).

`python -m igan_tf.turing_test --help` is the way in. The parts, from the bottom up: `settings` (what a study is),
`statistics` (counts in, numbers out), `encoding` and `sources` (images), `design` (who sees what, in which order),
`storage` (the SQLite file), `report` with `figures` (what came of it), `web`, `security` and `server` (the pages),
`command` (the command line). TensorFlow is imported only where a source needs it.
"""
