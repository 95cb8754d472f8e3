-- The front's tables. Each version of this file is run once, maybe on tables of an older one: what is added later is added below with
-- IF NOT EXISTS, and nothing is taken away while an older front may run.

CREATE TABLE IF NOT EXISTS checks (
  id           uuid PRIMARY KEY,                    -- before 0.2.0 also the key with which its jobs were submitted
  total        integer NOT NULL,
  created_at   timestamptz NOT NULL DEFAULT now(),
  submitted_at timestamptz,                         -- null: of a front before 0.2.0; its jobs may be submitted or not
  finished_at  timestamptz,
  next_look    timestamptz NOT NULL DEFAULT now(),  -- when a front takes it up; moved ahead by the one that does; infinity: not before its jobs are sent
  trouble      text                                 -- what keeps it from going on
);
CREATE INDEX IF NOT EXISTS checks_open ON checks (next_look) WHERE finished_at IS NULL;

CREATE TABLE IF NOT EXISTS urls (
  check_id uuid NOT NULL REFERENCES checks ON DELETE CASCADE,
  place    integer NOT NULL,                        -- 1… in the list, duplicates left out
  url      text NOT NULL,                           -- as it was sent
  job      uuid,                                    -- null: of a front before 0.2.0, or of a cancelled check and never sent
  failed   boolean,
  result   text,                                    -- JSON, once it is final; never changed
  PRIMARY KEY (check_id, place)
);

CREATE TABLE IF NOT EXISTS reports (
  url    text NOT NULL,
  reason text NOT NULL,                             -- of the last time
  times  integer NOT NULL,
  last   timestamptz NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS reports_url ON reports (md5(url));  -- a URL may be too long for an index
CREATE INDEX IF NOT EXISTS reports_last ON reports (last);

CREATE TABLE IF NOT EXISTS reported (job uuid PRIMARY KEY);  -- so that a job that runs twice reports once

ALTER TABLE checks ADD COLUMN IF NOT EXISTS cancelled_at timestamptz;  -- when that was asked for; it may have ended otherwise
ALTER TABLE checks ADD COLUMN IF NOT EXISTS cancel_stored boolean NOT NULL DEFAULT false;  -- at Leveret, which carries it out
ALTER TABLE checks ADD COLUMN IF NOT EXISTS in_doubt boolean NOT NULL DEFAULT true;  -- of a front before 0.2.0
