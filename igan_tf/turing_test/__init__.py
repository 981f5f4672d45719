"""The visual Turing test: people in a browser telling real from generated images (arXiv:1606.03498, section 6).

`python -m igan_tf.turing_test --help` is the way in. The parts, from the bottom up: `settings` (what a study is),
`statistics` (counts in, numbers out), `encoding` and `sources` (images), `design` (who sees what, in which order),
`contents`, `journal`, `storage`, `writer` and `creation` (the SQLite file), `votes`, `report`, `figures` and `export`
(what came of it), `session`, `security`, `results` and `server` (the pages), `serving` (the socket).
`igan_tf.commands.turing_test` is the program. TensorFlow is imported only where a source needs it.
"""
