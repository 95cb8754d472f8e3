-- bulk-insert's tables. Each version of this file is run once, maybe on tables of an older one: what is added later is added below
-- with IF NOT EXISTS, and nothing is taken away while an older process may run.

-- No key: a row that were there twice should be seen.
CREATE TABLE IF NOT EXISTS rows (
  job         uuid NOT NULL,                       -- that inserted it
  number      integer NOT NULL,                    -- 1 … n
  inserted_at timestamptz NOT NULL DEFAULT now()   -- when its transaction began
);
CREATE INDEX IF NOT EXISTS rows_by_job ON rows (job, number);

-- As `python -m leveret.marks` prints it.
CREATE TABLE IF NOT EXISTS leveret_marks (
    job uuid NOT NULL,
    generation integer NOT NULL,
    result bytea,
    made_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (job, generation)
);
ALTER TABLE leveret_marks ADD COLUMN IF NOT EXISTS follow_ups bytea;
CREATE INDEX IF NOT EXISTS leveret_marks_made_at ON leveret_marks (made_at);
