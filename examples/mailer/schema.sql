-- mailer's tables. Each version of this file is run once, maybe on tables of an older one: what is added later is added below with
-- IF NOT EXISTS, and nothing is taken away while an older process may run.

CREATE TABLE IF NOT EXISTS emails (
  id         uuid PRIMARY KEY,                    -- before 0.2.0 also the key with which its job was submitted
  message_id text NOT NULL,                       -- the same on each try
  recipients text[] NOT NULL,
  subject    text NOT NULL,
  body       text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  job        uuid,                                -- the one that may send it; null: of a front before 0.2.0, submitted or not
  next_look  timestamptz DEFAULT now()            -- when a front looks after its job; null: it has ended
);
CREATE INDEX IF NOT EXISTS emails_open ON emails (next_look) WHERE next_look IS NOT NULL;

-- What becomes of a mail in one generation of its job: a redrive begins another one, a redelivery finds the one that is there.
CREATE TABLE IF NOT EXISTS sendings (
  job        uuid NOT NULL,
  generation integer NOT NULL,
  email      uuid NOT NULL REFERENCES emails ON DELETE CASCADE,
  state      text NOT NULL DEFAULT 'queued',      -- queued | sending | sent | failed | maybe-sent
  since      timestamptz NOT NULL DEFAULT now(),  -- of the state
  backend    text,                                -- that was talked to last
  attempts   integer NOT NULL DEFAULT 0,          -- that ended
  deferred   integer NOT NULL DEFAULT 0,          -- those of them that a server asked for
  error      text,
  slot       timestamptz,                         -- granted by slot_of, and not used yet
  slot_of    text,
  PRIMARY KEY (job, generation)
);
CREATE INDEX IF NOT EXISTS sendings_email ON sendings (email, generation);

-- One row a backend, for all consumers: the theoretical time of GCRA and the last grant; and all grants of the last hour.
CREATE TABLE IF NOT EXISTS rates (
  backend     text PRIMARY KEY,
  theoretical timestamptz NOT NULL,
  granted     timestamptz NOT NULL
);
CREATE TABLE IF NOT EXISTS grants (backend text NOT NULL, at timestamptz NOT NULL);
CREATE INDEX IF NOT EXISTS grants_at ON grants (at);
