-- A study. Every row ends with its checksum (`contents.checksum`), which version 1 did not have.

-- Names and values are text; values are JSON.
CREATE TABLE study (name TEXT PRIMARY KEY, value TEXT NOT NULL, crc INTEGER NOT NULL) STRICT;

CREATE TABLE sources (
    source INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    generated INTEGER NOT NULL CHECK (generated IN (0, 1)),
    place TEXT NOT NULL,
    crc INTEGER NOT NULL
) STRICT;

-- Numbered in random order.
CREATE TABLE items (
    item INTEGER PRIMARY KEY,
    source INTEGER NOT NULL REFERENCES sources,
    practice INTEGER NOT NULL CHECK (practice IN (0, 1)),
    image BLOB NOT NULL,
    crc INTEGER NOT NULL
) STRICT;

-- `enrolment` is the number of the form that was sent: sent twice, it enrols once.
CREATE TABLE annotators (
    annotator INTEGER PRIMARY KEY,
    enrolment TEXT NOT NULL UNIQUE,
    session TEXT NOT NULL UNIQUE,
    resume TEXT NOT NULL UNIQUE,
    feedback INTEGER NOT NULL CHECK (feedback IN (0, 1)),
    enrolled_at REAL NOT NULL,
    crc INTEGER NOT NULL
) STRICT;

-- Who is to see what; written when an annotator enrols.
CREATE TABLE trials (
    annotator INTEGER NOT NULL REFERENCES annotators,
    position INTEGER NOT NULL,
    token TEXT NOT NULL UNIQUE,
    item INTEGER NOT NULL REFERENCES items,
    practice INTEGER NOT NULL CHECK (practice IN (0, 1)),
    crc INTEGER NOT NULL,
    PRIMARY KEY (annotator, position),
    UNIQUE (annotator, item)
) STRICT, WITHOUT ROWID;

CREATE INDEX trials_of_item ON trials (item);

-- What was answered. One row a trial, and final.
CREATE TABLE answers (
    annotator INTEGER NOT NULL,
    position INTEGER NOT NULL,
    choice TEXT NOT NULL CHECK (choice IN ('real', 'generated')),
    response_ms INTEGER NOT NULL CHECK (response_ms >= 0),
    answered_at REAL NOT NULL,
    crc INTEGER NOT NULL,
    PRIMARY KEY (annotator, position),
    FOREIGN KEY (annotator, position) REFERENCES trials
) STRICT, WITHOUT ROWID;

CREATE TRIGGER answers_stay BEFORE UPDATE ON answers BEGIN SELECT raise(ABORT, 'an answer is final'); END;
CREATE TRIGGER answers_are_kept BEFORE DELETE ON answers BEGIN SELECT raise(ABORT, 'an answer is kept'); END;
